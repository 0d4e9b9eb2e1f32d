// The dashboard: a thin client of the API. The address holds the state; what is shown is read from the server.
import { render } from "preact";
import { App } from "./app";
import { apply } from "./ui/theme";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/ui.css";
import "./styles/shell.css";
import "./styles/pages.css";
import "./styles/versions.css";

apply();
const root = document.getElementById("app");
if (root) render(<App />, root);
