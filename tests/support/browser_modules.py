"""Installed packages as ES modules that a browser takes: those of CommonJS get a wrapper, others are as they are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

MODULES = {
    "@electric-sql/client": "@electric-sql/client/dist/index.browser.mjs",
    "@electric-sql/react": "@electric-sql/react/dist/index.browser.mjs",
    "@tanstack/db": "@tanstack/db/dist/esm/index.js",
    "@tanstack/db-ivm": "@tanstack/db-ivm/dist/esm/index.js",
    "@tanstack/electric-db-collection": "@tanstack/electric-db-collection/dist/esm/index.js",
    "@tanstack/pacer-lite/lite-debouncer": "@tanstack/pacer-lite/dist/lite-debouncer.js",
    "@tanstack/pacer-lite/lite-queuer": "@tanstack/pacer-lite/dist/lite-queuer.js",
    "@tanstack/pacer-lite/lite-throttler": "@tanstack/pacer-lite/dist/lite-throttler.js",
    "@tanstack/react-db": "@tanstack/react-db/dist/esm/index.js",
    "fractional-indexing": "fractional-indexing/src/index.js",
}
COMMONJS = {
    "debug": "debug/src/browser.js",
    "./common": "debug/src/common.js",  # as debug asks for it
    "ms": "ms/index.js",
    "react": "react/cjs/react.production.js",
    "react/jsx-runtime": "react/cjs/react-jsx-runtime.production.js",
    "react-dom": "react-dom/cjs/react-dom.production.js",
    "react-dom/client": "react-dom/cjs/react-dom-client.production.js",
    "scheduler": "scheduler/cjs/scheduler.production.js",
    "sorted-btree": "sorted-btree/b+tree.js",
    "use-sync-external-store/with-selector.js": (
        "use-sync-external-store/cjs/use-sync-external-store-with-selector.production.js"
    ),
}


def write_modules(node_modules: Path, folder: Path) -> dict[str, str]:
    """Make ``folder`` hold all of them; the import map, for a folder that is served as /modules."""
    for package in ("@electric-sql", "@tanstack", "fractional-indexing"):
        shutil.copytree(node_modules / package, folder / package, ignore=shutil.ignore_patterns("cjs", "*.map", "*.ts"))
    names = _exported(node_modules)
    wrappers = {name: f"/modules/{number}.js" for number, name in enumerate(COMMONJS)}
    for name, file in COMMONJS.items():
        wrapped = _wrapped((node_modules / file).read_text(), names[name], wrappers)
        (folder / Path(wrappers[name]).name).write_text(wrapped)
    return wrappers | {name: f"/modules/{file}" for name, file in MODULES.items()}


def _exported(node_modules: Path) -> dict[str, list[str]]:
    """The names that each CommonJS module exports, told by node."""
    script = f"""
        const names = {{}};
        for (const [name, file] of Object.entries({json.dumps(COMMONJS)})) {{
            const found = require("./node_modules/" + file);
            names[name] = Object.keys(found).filter((one) => /^[a-zA-Z_$][\\w$]*$/.test(one) && one !== "default");
        }}
        console.log(JSON.stringify(names));
    """
    done = subprocess.run(["node", "-e", script], cwd=node_modules.parent, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def _wrapped(text: str, names: list[str], wrappers: dict[str, str]) -> str:
    required = sorted(set(re.findall(r"""require\(['"]([^'"]+)['"]\)""", text)) & wrappers.keys())
    imports = "".join(
        f"import {{ exported as required{place} }} from {json.dumps(wrappers[name])};\n"
        for place, name in enumerate(required)
    )
    table = ", ".join(f"{json.dumps(name)}: required{place}" for place, name in enumerate(required))
    exports = "".join(f"export const {name} = exported[{json.dumps(name)}];\n" for name in names)
    return (
        f"{imports}const module = {{ exports: {{}} }}, process = {{ env: {{ NODE_ENV: 'production' }} }};\n"
        f"((module, exports, require) => {{{text}\n}})(module, module.exports, (name) => ({{ {table} }})[name]);\n"
        f"export const exported = module.exports;\nexport default exported.default ?? exported;\n{exports}"
    )
