// A small client of the HTTP API: all rows of a shape, and then its changes, until it is told to end.
const PAUSE_MS = 1000;

export async function follow(path, params, signal, told) {
  let at = { offset: "-1" };
  while (!signal.aborted) {
    try {
      at = await step(path, params, at, signal, told);
    } catch (error) {
      if (signal.aborted || error instanceof Refused) return signal.aborted || told.fail(error.message);
      told.fail("the server cannot be reached; trying again …");
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      at = { ...at, live: false };
    }
  }
}

class Refused extends Error {}

// One request: where the next one goes on.
async function step(path, params, at, signal, told) {
  const query = new URLSearchParams({ ...params, offset: at.offset });
  if (at.handle !== undefined) query.set("handle", at.handle);
  if (at.live) {
    query.set("live", "true");
    query.set("cursor", at.cursor ?? "");
  }
  const answer = await fetch(`${path}?${query}`, { signal, cache: "no-store" }); // else a dropped shape would come back
  const handle = answer.headers.get("electric-handle");
  if (answer.status === 409) return { offset: "-1", handle };
  if (answer.status === 429 || answer.status >= 500) throw new Error(`the server answered ${answer.status}`);
  if (!answer.ok) throw new Refused(await reason(answer));
  const messages = await answer.json();
  if (at.offset === "-1") told.begin(Object.keys(JSON.parse(answer.headers.get("electric-schema"))));
  told.change(messages.filter(({ headers }) => headers.operation !== undefined));
  const last = messages.at(-1)?.headers.control;
  if (last === "up-to-date") told.upToDate();
  return {
    offset: answer.headers.get("electric-offset"),
    handle,
    live: last === "up-to-date",
    cursor: answer.headers.get("electric-cursor"),
  };
}

async function reason(answer) {
  const { message, errors } = await answer.json();
  return [message, ...Object.values(errors ?? {}).flat()].join(": ");
}
