// Answers with everything that programs for Node take a request's target for, Express' way of matching among them.
const { createServer } = require("node:http");
const { parse } = require("node:url");
const { posix } = require("node:path");

const tried = (read) => { try { return [read()]; } catch { return []; } };
const each = (paths, change) => paths.flatMap((path) => tried(() => change(path)));

const server = createServer((request, response) => {
  const bare = request.url.split("?")[0];
  const raw = [bare, ...tried(() => new URL(request.url, "http://localhost").pathname), ...tried(() => parse(request.url).pathname)]
    .filter((path) => typeof path === "string");
  const read = [...raw, ...each(raw, decodeURIComponent), ...each(raw, decodeURI)];
  const plain = each(read, (path) => path.split("/").map((name) => name.split(";")[0]).join("/"));
  const paths = [...read, ...plain, ...each([...read, ...plain], posix.normalize)];
  // Express: whatever the letter case, with one slash more or less at the end.
  const report = paths.filter((path) => /^\/report\/?$/i.test(path)).length > 0;
  const admin = paths.filter((path) => /^\/admin(\/|$)/i.test(path)).length > 0;
  const closed = paths.filter((path) => !/^\/open(\/|$)/.test(path));
  response.end(JSON.stringify({ scope: report || admin, closed }));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
