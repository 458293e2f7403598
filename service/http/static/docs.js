// Every route of the OpenAPI document as a block to open, and a form for POST /score.
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
                  text("span", " " + (route.summary || ""), "summary"));
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
  const reply = await fetch("score", {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: document.getElementById("body").value,
  });
  const answer = document.getElementById("answer");
  answer.hidden = false;
  answer.textContent = reply.status + "\n" + JSON.stringify(await reply.json(), null, 2);
};
