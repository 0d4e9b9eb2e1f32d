// Who may see it, and which page the address means.
import { useEffect, useState } from "preact/hooks";
import { hasKey, login, onLoggedOut } from "./api/client";
import { forgetAll } from "./api/use";
import { Compare } from "./pages/Compare";
import { Create } from "./pages/Create";
import { FunctionPage } from "./pages/FunctionPage";
import { Functions } from "./pages/Functions";
import { Invocation, Invocations } from "./pages/Invocations";
import { Live } from "./pages/Live";
import { Login } from "./pages/Login";
import { MessageQueue, MessageQueues } from "./pages/MessageQueues";
import { Overview } from "./pages/Overview";
import { Queue } from "./pages/Queue";
import { Schedules } from "./pages/Schedules";
import { Secrets } from "./pages/Secrets";
import { Settings } from "./pages/Settings";
import { Tokens } from "./pages/Tokens";
import { catchLinks, type Place, to, usePlace } from "./router";
import { Shell } from "./shell";
import { Empty } from "./ui/parts";
import { Toasts } from "./ui/toast";

/** A one-time link's code, taken out of the address before anything else can see it. */
function takeLink(): string | undefined {
  const match = /^#login=([A-Za-z0-9_]+)$/.exec(location.hash);
  if (match) history.replaceState(null, "", location.pathname + location.search);
  return match?.[1];
}

const link = takeLink();

export function App() {
  const [state, set] = useState<"in" | "out" | "entering">(link !== undefined ? "entering" : hasKey() ? "in" : "out");
  const [error, setError] = useState<unknown>(undefined);
  const place = usePlace();

  useEffect(() => onLoggedOut(() => (forgetAll(), set("out"))), []);
  useEffect(() => {
    document.addEventListener("click", catchLinks);
    return () => document.removeEventListener("click", catchLinks);
  }, []);
  useEffect(() => {
    if (link === undefined) return;
    login({ link }).then(
      () => set("in"),
      (failure: unknown) => {
        setError(failure);
        set("out");
      },
    );
  }, []);

  return (
    <>
      {state === "in" ? (
        <Shell place={place}>
          <Page place={place} />
        </Shell>
      ) : (
        <Login entering={state === "entering"} error={error} onIn={() => (forgetAll(), set("in"))} />
      )}
      <Toasts />
    </>
  );
}

function Page({ place }: { place: Place }) {
  const [first, second, third] = place.parts;
  switch (first) {
    case undefined:
      return <Overview />;
    case "functions":
      if (second === undefined) return <Functions />;
      if (second === "new" && third === undefined) return <Create />;
      return <FunctionPage key={second} name={second} tab={third ?? "code"} />;
    case "live":
      return <Live />;
    case "invocations":
      return second === undefined ? <Invocations place={place} /> : <Invocation key={second} id={second} />;
    case "compare":
      return <Compare place={place} />;
    case "schedules":
      return <Schedules />;
    case "queue":
      return <Queue />;
    case "secrets":
      return <Secrets />;
    case "queues":
      return second === undefined ? <MessageQueues /> : <MessageQueue key={second} name={second} />;
    case "tokens":
      return <Tokens />;
    case "settings":
      return <Settings />;
    default:
      return (
        <Empty title="Nothing is here" icon="search" action={<a class="button" href={to.overview}>To the overview</a>}>
          There is no page at <code>{place.path}</code>.
        </Empty>
      );
  }
}
