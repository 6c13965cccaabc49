import React, { useState } from "react";
import { createRoot } from "react-dom/client";
import { createCollection, useLiveQuery } from "@tanstack/react-db";
import { electricCollectionOptions } from "@tanstack/electric-db-collection";

const h = React.createElement;

// Send a write. Its txid says which change of the shape it is: until that comes, the write is shown as it was made here.
async function send(method, { id, ...todo }) {
  const answer = await fetch(`/todos/${id}`, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(todo),
  });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`); // the write is taken back
  return await answer.json();
}

const put = ({ transaction }) => send("PUT", transaction.mutations[0].modified);
const remove = ({ transaction }) => send("DELETE", transaction.mutations[0].original);

const todos = createCollection(
  electricCollectionOptions({
    id: "todos",
    shapeOptions: { url: new URL("/sync/v1/shape", location.href).href, params: { table: "todo" }, liveSse: true },
    getKey: (todo) => todo.id,
    onInsert: put,
    onUpdate: put,
    onDelete: remove,
  }),
);

function Todos() {
  const { data } = useLiveQuery((query) => query.from({ todo: todos }).orderBy(({ todo }) => todo.title));
  const [title, setTitle] = useState("");
  const add = (event) => {
    event.preventDefault();
    todos.insert({ id: crypto.randomUUID(), title, done: false });
    setTitle("");
  };
  return h(React.Fragment, null,
    h("form", { onSubmit: add },
      h("input", { value: title, onChange: (event) => setTitle(event.target.value), "aria-label": "what to do" }),
      h("button", null, "Add")),
    h("ul", null, data.map((todo) =>
      h("li", { key: todo.id },
        h("label", null,
          h("input", {
            type: "checkbox",
            checked: todo.done,
            onChange: () => todos.update(todo.id, (draft) => { draft.done = !draft.done; }),
          }),
          todo.title),
        h("button", { onClick: () => todos.delete(todo.id), "aria-label": `delete ${todo.title}` }, "×")))));
}

createRoot(document.getElementById("root")).render(h(Todos));
