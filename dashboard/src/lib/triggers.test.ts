import { describe, expect, it } from "vitest";
import { isNamed, scopeOf, tokenProblem } from "./scopes";
import { authText, NEW_ROUTE, NEW_SOURCE, type Route, routeForm, routeProblem, routeWrite, type Source, sourceForm, sourceProblem, sourceText, sourceWrite } from "./triggers";

describe("routes", () => {
  const full: Route = {
    route: "PUT api.example.org/hooks/{name+}",
    auth: { signature: "github", secret: "hook-key" },
    rate: "10/s",
    burst: 20,
    max_body: "1MB",
    timeout: "5s",
    cors: { allow_origins: ["https://a.example", "https://b.example"], expose_headers: ["x-total"], max_age: "10m", allow_methods: ["PUT"], allow_headers: ["content-type"], allow_credentials: true },
  };
  it("go through a form unchanged, with what it does not show", () => {
    for (const one of [full, { route: "/all" }, { route: "GET /a", auth: "api-key" }, { route: "GET /b", max_body: 1000 }] as Route[]) expect(routeWrite(routeForm(one), one)).toEqual(one);
  });
  it("lose CORS with their origins, and say nothing that was not said", () => {
    expect(routeWrite({ ...routeForm(full), origins: "", auth: "none", rate: "", burst: "", max_body: "", timeout: "" }, full)).toEqual({ route: "PUT api.example.org/hooks/{name+}" });
  });
  it("name what cannot be kept", () => {
    expect(routeProblem({ ...NEW_ROUTE, path: "/a" })).toBeUndefined();
    expect(routeProblem({ ...NEW_ROUTE, path: "api.example.org/a" })).toBeUndefined();
    for (const wrong of [{ path: "a" }, { path: "/a b" }, { auth: "github" }, { rate: "10" }, { burst: "5" }, { origins: "*", credentials: true }]) expect(routeProblem({ ...NEW_ROUTE, path: "/a", ...wrong }), JSON.stringify(wrong)).toBeDefined();
    expect([authText(undefined), authText("api-key"), authText(full.auth)]).toEqual(["everybody", "who has a key", "signed, GitHub"]);
  });
});

describe("event sources", () => {
  const all: Source[] = [
    { kind: "queue", name: "orders", batch: 10, window: "0s", concurrency: 5 },
    { kind: "mqtt", name: "sensors", batch: 1, window: "2s", broker: "mqtts://h:8883", topics: ["a/+", "$share/g/b"], qos: 0, client_id: "c", user: "u", password: { secret: "p" } },
    { kind: "folder", name: "inbox", batch: 1, window: "0s", path: "/srv/inbox", pattern: "*.jpg", recursive: true, settle: "2s", after: { move_to: "/srv/done" } },
    { kind: "folder", name: "keep", batch: 1, window: "0s", path: "/srv/in", recursive: false, settle: "1s", after: "delete" },
  ];
  it("go through a form unchanged", () => {
    for (const one of all) {
      expect(sourceWrite(sourceForm(one), one)).toEqual(one);
      expect(sourceProblem(sourceForm(one), [])).toBeUndefined();
    }
    expect(all.map(sourceText)).toEqual(["queue orders", "mqtts://h:8883 a/+, $share/g/b", "/srv/inbox *.jpg", "/srv/in"]);
  });
  it("name what cannot be kept", () => {
    for (const wrong of [{ name: "" }, { name: "a b" }, { batch: "0" }, { batch: "1001" }, { kind: "mqtt" as const, broker: "http://x" }, { kind: "mqtt" as const, broker: "mqtt://x" }, { kind: "folder" as const, path: "srv" }, { kind: "folder" as const, path: "/a", after: "move_to" }])
      expect(sourceProblem({ ...NEW_SOURCE, name: "n", ...wrong }, []), JSON.stringify(wrong)).toBeDefined();
    expect(sourceProblem({ ...NEW_SOURCE, name: "n" }, ["n"])).toContain("already");
  });
});

describe("tokens", () => {
  const form = { name: "ci", rows: [{ kind: "deploy", name: "web-*" }], expires: "30d", aws: false };
  it("have scopes as the API says them", () => {
    expect([scopeOf({ kind: "deploy", name: " web-* " }), scopeOf({ kind: "read", name: "x" }), isNamed("admin")]).toEqual(["deploy:web-*", "read", false]);
  });
  it("name what cannot be made", () => {
    expect(tokenProblem(form, [])).toBeUndefined();
    expect(tokenProblem({ ...form, expires: "" }, [])).toBeUndefined();
    for (const wrong of [{ name: "a b" }, { rows: [] }, { rows: [{ kind: "logs", name: "" }] }, { rows: [form.rows[0], form.rows[0]] as typeof form.rows }, { expires: "soon" }, { expires: "0d" }, { expires: "3651d" }]) expect(tokenProblem({ ...form, ...wrong }, []), JSON.stringify(wrong)).toBeDefined();
    expect(tokenProblem(form, ["ci"])).toContain("already");
  });
});
