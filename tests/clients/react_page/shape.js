// The rows of a shape by Electric's own hook, and no more.
import React from "react";
import { createRoot } from "react-dom/client";
import { useShape } from "@electric-sql/react";

function Titles() {
  const { data, isLoading } = useShape({ url: new URL("/sync/v1/shape", location.href).href, params: { table: "todo" } });
  if (isLoading) return "loading";
  return data.map(({ title }) => title).sort().join(", ");
}

createRoot(document.getElementById("root")).render(React.createElement(Titles));
