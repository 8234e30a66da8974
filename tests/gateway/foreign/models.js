// A component in another stack: Models of app `lab`, with the standard library of Node.js alone.
const http = require("http");

const [, , wanted, port] = process.argv;
const seen = new Map(); // Idempotency-Key -> answer: a command that is repeated has one effect
let weight = 1.0;
let trained = 0;
const log = [];

function problem(response, status, type, more = {}, headers = {}) {
  const body = JSON.stringify({ type: `urn:allotrope:${type}`, title: type, status, ...more });
  response.writeHead(status, { "content-type": "application/problem+json", ...headers });
  response.end(body);
}

function answer(response, value) {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

let busy = 0;
const operations = {
  score(response, { point }) {
    if (point.x < 0) return problem(response, 409, "fault:Outside", { fault: "Outside", fields: { x: point.x } });
    if (point.x === 500) return problem(response, 500, "failed", { detail: "it broke" });
    if (point.x === 503 && busy++ < 2) return problem(response, 503, "overloaded", {}, { "retry-after": "0" });
    if (point.x === 666) return answer(response, { value: "no number" });
    if (point.x === 777) return; // never
    if (point.x === 999) return response.socket.destroy();
    answer(response, { value: point.x * weight, why: ["x", "w"] });
  },
  echo(response, _, request) {
    answer(response, Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`));
  },
  train(response, { name, step }, request) {
    const key = request.headers["idempotency-key"];
    if (step < 0) return problem(response, 422, "refused", { detail: "a step goes forward" });
    if (!seen.has(key)) {
      trained += 1;
      weight += step;
      seen.set(key, weight);
      if (name === "cut") return response.socket.destroy(); // it ran, and nobody hears of it
    }
    answer(response, seen.get(key));
  },
  count(response) {
    answer(response, trained);
  },
  words(response, { upto }) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (let n = 0; n < Math.abs(upto); n++) response.write(`data: "w${n}"\r\n\r\n`);
    if (upto < 0) return response.end('event: problem\ndata: {"type":"urn:allotrope:failed","detail":"no more"}\n\n');
    response.end("event: end\ndata: {}\n\n");
  },
};

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const [, component, name] = request.url.split("/");
    if (request.headers.authorization !== `Bearer ${wanted}`) return problem(response, 401, "denied", { detail: "who?" });
    if (component !== "Models" || !operations[name]) return problem(response, 404, "unknown", { detail: request.url });
    operations[name](response, JSON.parse(body), request);
  });
});
server.listen(Number(port), "127.0.0.1", () => console.log(server.address().port));
