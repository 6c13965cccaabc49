// Runs the published clients, told what to do by JSON lines on stdin; each is answered by one on stdout.
//
//   {"id": 1, "do": "shape", "name": "a", "url": "http://...", "params": {"table": "todo"}}  ->  {"id": 1, "ok": null}
//   {"id": 2, "do": "until", "name": "a", "rows": [...]}                                     ->  {"id": 2, "ok": [...]}
//
// Commands run side by side. The end of stdin ends the process. `tests/support/node.py` is the other end.
import { createInterface } from "node:readline";
import { Shape, ShapeStream } from "@electric-sql/client";
import { BasicIndex, createCollection, createLiveQueryCollection, eq } from "@tanstack/react-db";
import { electricCollectionOptions } from "@tanstack/electric-db-collection";

const PATIENCE_MS = 60_000;
const QUICK_RETRIES = { initialDelay: 20, maxDelay: 500, multiplier: 1.5 };
const NUMBERS = { int8: Number }; // the client's own parser makes a BigInt of it, which is not JSON

// Where workers are killed, streams of events do end at once. The client then warns of proxies, and polls.
const warn = console.warn;
console.warn = (text, ...more) => {
  if (!String(text).startsWith("[Electric] SSE connections are closing immediately")) warn(text, ...more);
};

const things = {};

// A fetch that remembers what it asked for, and what it was answered.
function remembered(requests) {
  return async (input, init) => {
    const asked = Object.fromEntries(new URL(input).searchParams);
    const answer = await fetch(input, init);
    requests.push({ asked, status: answer.status, method: init?.method ?? "GET", type: answer.headers.get("content-type") });
    return answer;
  };
}

// Where workers are killed, an answer may be cut off between its headers and its body. The client then leaves it to the
// application whether to go on: `mayBeCut` says that it does.
function options({ url, params, headers = {}, mayBeCut = false, ...others }, requests, errors) {
  return {
    url, params, headers, ...others,
    parser: NUMBERS,
    backoffOptions: QUICK_RETRIES,
    fetchClient: remembered(requests),
    onError: (error) => {
      if (mayBeCut && error.message === "terminated") return {};
      errors.push(String(error));
    },
  };
}

function followed(asked) {
  const requests = [], errors = [], log = [], ending = new AbortController();
  const stream = new ShapeStream({ ...options(asked, requests, errors), signal: ending.signal });
  stream.subscribe((messages) => { log.push(...messages); }, (error) => { errors.push(String(error)); });
  return { stream, requests, errors, log, end: () => ending.abort() };
}

const commands = {
  // Rows as the client's own Shape gathers them.
  shape({ name, ...asked }) {
    const one = followed(asked);
    const shape = new Shape(one.stream);
    things[name] = { ...one, rows: () => shape.currentRows };
  },
  // Rows as an application keeps them that saves them together with the offset, and goes on from there.
  stream({ name, saved = [], ...asked }) {
    const one = followed(asked);
    const rows = new Map(saved);
    one.stream.subscribe((messages) => {
      for (const { key, value, headers } of messages) {
        if (headers.control === "must-refetch") rows.clear();
        else if (headers.operation === "delete") rows.delete(key);
        else if (headers.operation) rows.set(key, { ...rows.get(key), ...value });
      }
    });
    things[name] = { ...one, rows: () => [...rows.values()], saved: () => [...rows] };
  },
  // Rows as TanStack DB keeps them, with the application's writes laid over them until they come back by their txid.
  collection({ name, syncMode = "eager", writes, ...asked }) {
    const requests = [], errors = [];
    const send = async ({ transaction }) => {
      const body = transaction.mutations.map(({ type, key, modified }) => ({ type, key, row: modified }));
      const answer = await fetch(writes, { method: "POST", body: JSON.stringify(body) });
      if (!answer.ok) throw new Error(`the write was refused: ${answer.status}`);
      return { txid: (await answer.json()).txid, timeout: PATIENCE_MS };
    };
    const collection = createCollection(electricCollectionOptions({
      id: name, syncMode, getKey: (row) => row.id,
      shapeOptions: options(asked, requests, errors),
      onInsert: send, onUpdate: send, onDelete: send,
      startSync: true, autoIndex: "eager", defaultIndexType: BasicIndex,
    }));
    things[name] = { collection, requests, errors, log: [], rows: () => collection.toArray, end: () => collection.cleanup() };
  },
  // A query over an on-demand collection: it loads the subset that it needs.
  async query({ name, of, where, orderBy, limit }) {
    const query = createLiveQueryCollection({
      startSync: true,
      query: (from) => {
        let built = from.from({ row: things[of].collection });
        for (const [column, value] of Object.entries(where)) built = built.where(({ row }) => eq(row[column], value));
        if (orderBy) built = built.orderBy(({ row }) => row[orderBy], "asc").limit(limit);
        return built;
      },
    });
    await query.preload();
    things[name] = { ...things[of], rows: () => query.toArray.map(({ ...row }) => row), end: () => query.cleanup() };
  },
  // One optimistic write; what the collection shows at once, and what when its txid has come back.
  async write({ name, type, row }) {
    const { collection } = things[name];
    const transaction =
      type === "insert" ? collection.insert(row)
      : type === "delete" ? collection.delete(row.id)
      : collection.update(row.id, (draft) => { Object.assign(draft, row); });
    const atOnce = [...collection.toArray];
    await transaction.isPersisted.promise;
    return { atOnce: sorted(atOnce), then: sorted(collection.toArray) };
  },
  async subset({ name, ...subset }) {
    const { data } = await things[name].stream.requestSnapshot(subset);
    return data.map(({ value }) => value);
  },
  rows: ({ name }) => sorted(things[name].rows()),
  async until({ name, rows }) {
    const wanted = text(sorted(rows)), deadline = Date.now() + PATIENCE_MS;
    while (text(sorted(things[name].rows())) !== wanted) {
      if (Date.now() > deadline) {
        const { errors, requests } = things[name];
        throw new Error(`in vain: ${text({ wanted: rows, found: sorted(things[name].rows()), errors, last: requests.slice(-5) })}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return sorted(things[name].rows());
  },
  async failed({ name }) {
    const { errors } = things[name], deadline = Date.now() + PATIENCE_MS;
    while (errors.length === 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
    return errors[0];
  },
  tell({ name }) {
    const { stream, requests, errors, log, saved } = things[name];
    return {
      offset: stream?.lastOffset, handle: stream?.shapeHandle, saved: saved?.(), requests, errors, log,
      upToDate: stream?.isUpToDate,
    };
  },
  close({ name }) {
    things[name].end();
  },
  closeAll() {
    for (const [name, { end }] of Object.entries(things).reverse()) { // a query ends before what it reads
      end();
      delete things[name];
    }
  },
};

// Rows by id, and columns by name; TanStack's own columns begin with a $.
const sorted = (rows) => [...rows].sort((one, other) => one.id - other.id).map((row) =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith("$")).sort()));
const text = (value) => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? Number(part) : part));
const say = (answer) => process.stdout.write(`${text(answer)}\n`);

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, do: command, ...rest } = JSON.parse(line);
  try {
    say({ id, ok: (await commands[command](rest)) ?? null });
  } catch (error) {
    say({ id, error: `${error.message}` });
  }
});
lines.on("close", () => process.exit(0));
