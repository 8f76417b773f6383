// The server that the browser scenarios send to.
//
// In:       requests of the SDK; the fault the scenario wants next; perhaps the address of a real server.
// Out:      answers: the real server's, or made here in its way; a record of all that came.
// Promise:  the record has every request whose body arrived, with what became of it. A fault holds until it is lifted.

import { createServer } from "node:http";

// none        answer (or pass on to the real server, and give its answer back untouched)
// {status}    that status and no more, with {headers}; the real server sees nothing
// "down"      the connection is closed at once
// "cut"       taken (and passed on), then the connection is closed without a word
// "hang"      taken by nobody, never answered
// {results}   a function from an event to its result; the real server sees nothing

export async function openGate({ host, delayMs = 0 } = {}) {
  const requests = [];
  const sockets = new Set();
  let underWay = 0;
  const gate = { requests, fault: undefined, delayMs, preflights: 0, mostAtOnce: 0 };

  const server = createServer((request, response) => {
    if (request.method === "OPTIONS") gate.preflights += 1;
    if (gate.fault === "down") return request.socket.destroy();
    underWay += 1;
    gate.mostAtOnce = Math.max(gate.mostAtOnce, underWay);
    response.on("close", () => (underWay -= 1));
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => answer(request, response, Buffer.concat(parts)).catch(() => request.socket.destroy()));
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });

  async function answer(request, response, bytes) {
    const fault = gate.fault;
    const record = {
      atMs: Date.now(),
      method: request.method,
      path: request.url,
      headers: request.headers,
      bytes: bytes.length,
      body: bytes.length ? JSON.parse(bytes.toString()) : undefined,
      beacon: request.headers["sec-fetch-mode"] === "no-cors",
      fault: typeof fault === "object" ? fault.status ?? "results" : fault,
    };
    requests.push(record);
    if (fault === "hang") return;
    if (gate.delayMs) await new Promise((done) => setTimeout(done, gate.delayMs));
    const cors = { "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" };
    if (fault?.status) {
      response.writeHead(fault.status, { ...cors, ...fault.headers });
      return response.end();
    }
    let status = 200;
    let headers = { ...cors, "content-type": "application/json" };
    let body = Buffer.from(
      JSON.stringify({
        results: (record.body?.events ?? []).map((event) => ({
          event_id: event.event_id,
          result: fault?.results?.(event) ?? "ok",
        })),
      }),
    );
    if (host && !fault?.results) {
      const passed = await fetch(host + request.url, {
        method: request.method,
        headers: Object.fromEntries(
          Object.entries(request.headers).filter(([name]) => !["host", "connection", "content-length"].includes(name)),
        ),
        body: bytes.length ? bytes : undefined,
      });
      status = passed.status;
      body = Buffer.from(await passed.arrayBuffer());
      headers = Object.fromEntries(
        [...passed.headers].filter(([name]) => !["content-encoding", "content-length", "transfer-encoding", "connection"].includes(name)),
      );
    }
    record.status = status;
    record.answer = body.toString();
    if (fault === "cut") return request.socket.destroy();
    response.writeHead(status, headers);
    response.end(body);
  }

  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  gate.url = `http://127.0.0.1:${server.address().port}`;
  gate.port = server.address().port;
  gate.close = () => {
    for (const socket of sockets) socket.destroy();
    return new Promise((done) => server.close(done));
  };
  /** Every event of every request, in order of arrival. */
  gate.events = () => requests.flatMap((request) => request.body?.events?.map((event) => ({ ...event, request })) ?? []);
  /** Those that a 200 stands for, each once. */
  gate.taken = () => {
    const byId = new Map();
    for (const event of gate.events()) {
      if (event.request.status === 200 && !byId.has(event.event_id)) byId.set(event.event_id, event);
    }
    return [...byId.values()];
  };
  return gate;
}
