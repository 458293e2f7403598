"""The documentation that the server serves itself, without asking any other for scripts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from retort.service.errors import (
    DeadlinePassed,
    InferenceFailed,
    InvalidRequest,
    NotReady,
    Overloaded,
    ServiceError,
    TooLarge,
    Unauthorized,
)
from retort.service.http.schemas import ErrorResponse

ERRORS: tuple[type[ServiceError], ...] = (
    Unauthorized,
    TooLarge,
    InvalidRequest,
    Overloaded,
    InferenceFailed,
    NotReady,
    DeadlinePassed,
)


def error_responses() -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: every error that a scoring route may answer."""
    return {
        error.status: {"model": ErrorResponse, "description": error.__doc__ or ""}
        for error in ERRORS
    }


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """For OpenAPI: the body of a route that reads it itself."""
    schema = model.model_json_schema()
    # Nested models would need a place of their own in the document: put them in their users.
    definitions = schema.pop("$defs", {})
    inlined = _inline(schema, definitions)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined}}}}


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            return _inline(definitions[reference.rpartition("/")[2]], definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(value, definitions) for value in node]
    return node


DOCS_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Retort</title>
<meta name="viewport" content="width=device-width">
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
 code, pre, textarea { font: 14px/1.4 ui-monospace, monospace }
 pre, textarea { background: #8881; padding: .7rem; overflow: auto; width: 100%; border: 0 }
 textarea { box-sizing: border-box; height: 14rem } summary { cursor: pointer; padding: .4rem 0 }
 .verb { display: inline-block; width: 3.5rem; font-weight: 600 } .told { opacity: .7 }
</style>
<h1>Retort</h1>
<p>Try it, or read the whole as <a href="openapi.json">OpenAPI</a>.</p>
<textarea id="body" spellcheck="false"></textarea>
<p><button id="go">POST /score</button></p>
<pre id="answer" hidden></pre>
<div id="routes"></div>
<script>
const text = (tag, content, name) => {
  const element = document.createElement(tag);
  element.textContent = content;
  if (name) element.className = name;
  return element;
};
const resolve = (api, node) => !node ? node : node.$ref
  ? resolve(api, node.$ref.slice(2).split("/").reduce((at, key) => at[key], api)) : node;
const show = value => text("pre", JSON.stringify(value, null, 2));
fetch("openapi.json").then(reply => reply.json()).then(api => {
  const example = api.paths["/score"].post.requestBody.content["application/json"].schema.examples;
  document.getElementById("body").value = JSON.stringify(example[0], null, 2);
  for (const [path, verbs] of Object.entries(api.paths))
    for (const [verb, route] of Object.entries(verbs)) {
      const block = document.createElement("details");
      const line = document.createElement("summary");
      line.append(text("span", verb.toUpperCase(), "verb"), text("code", path),
                  text("span", " " + (route.summary || ""), "told"));
      block.append(line);
      const body = route.requestBody && route.requestBody.content["application/json"].schema;
      if (body) block.append(text("p", "Request"), show(body));
      for (const [status, reply] of Object.entries(route.responses)) {
        block.append(text("p", status + " " + reply.description));
        const content = reply.content && reply.content["application/json"];
        if (content && status === "200") block.append(show(resolve(api, content.schema)));
      }
      document.getElementById("routes").append(block);
    }
});
document.getElementById("go").onclick = async () => {
  const reply = await fetch("score", {method: "POST", body: document.getElementById("body").value});
  const answer = document.getElementById("answer");
  answer.hidden = false;
  answer.textContent = reply.status + "\\n" + JSON.stringify(await reply.json(), null, 2);
};
</script>
"""
