// The code editor, in a chunk of its own: what the first load must not carry.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { javascript } from "@codemirror/lang-javascript";
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "preact/hooks";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment, tags.meta], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.function(tags.variableName))], color: "var(--code-function)" },
  { tag: [tags.className, tags.typeName, tags.namespace], color: "var(--code-type)" },
  { tag: [tags.propertyName, tags.attributeName], color: "var(--code-property)" },
  { tag: tags.invalid, color: "var(--bad)" },
]);

const look = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "transparent", height: "100%", fontSize: "13px" },
  ".cm-content": { fontFamily: "var(--mono)", caretColor: "var(--ember)", padding: "12px 0" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--text-3)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  ".cm-cursor": { borderLeftColor: "var(--ember)", borderLeftWidth: "2px" },
  "&.cm-focused": { outline: "none" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--select)" },
  ".cm-selectionMatch": { backgroundColor: "var(--ember-soft)" },
  ".cm-matchingBracket": { backgroundColor: "var(--ember-soft)", outline: "1px solid var(--ember)" },
  ".cm-panels, .cm-tooltip": { backgroundColor: "var(--raised)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--ember-soft)", color: "var(--text)" },
  ".cm-textfield, .cm-button": { background: "var(--field)", color: "var(--text)", border: "1px solid var(--line)", borderRadius: "6px" },
});

function language(name: string): Extension {
  if (/\.py$/.test(name)) return [python(), indentUnit.of("    ")];
  if (/\.(m|c)?js$/.test(name)) return javascript();
  if (/\.tsx?$/.test(name)) return javascript({ typescript: true });
  if (/\.json$/.test(name)) return json();
  return [];
}

export interface EditorProps {
  name: string;
  text: string;
  label: string;
  onChange: (text: string) => void;
  onSave?: () => void;
  onRun?: () => void;
  /** Small ones have no line numbers. */
  plain?: boolean;
}

export default function Editor(props: EditorProps) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  /** What was typed and has not come back as `text` yet: one may type faster than the page is drawn. */
  const told = useRef<string[]>([]);
  const taking = useRef(false);

  useEffect(() => {
    if (!box.current) return;
    told.current = [];
    const act = (what: "onSave" | "onRun") => () => {
      latest.current[what]?.();
      return latest.current[what] !== undefined;
    };
    const kind = new Compartment();
    const state = EditorState.create({
      doc: latest.current.text,
      extensions: [
        props.plain ? [] : [lineNumbers(), foldGutter(), highlightActiveLine(), highlightActiveLineGutter()],
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        autocompletion(),
        highlightSelectionMatches(),
        syntaxHighlighting(colours),
        look,
        EditorView.contentAttributes.of({ "aria-label": props.label, tabindex: "0" }),
        keymap.of([
          { key: "Mod-s", run: act("onSave"), preventDefault: true },
          { key: "Mod-Enter", run: act("onRun"), preventDefault: true },
          ...closeBracketsKeymap,
          ...defaultKeymap,
          ...searchKeymap,
          ...historyKeymap,
          ...completionKeymap,
          // Escape, then Tab leaves the editor: nobody is trapped in it.
          indentWithTab,
        ]),
        kind.of(language(props.name)),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged || taking.current) return;
          const text = update.state.doc.toString();
          told.current.push(text);
          latest.current.onChange(text);
        }),
      ],
    });
    // Within a shadow root its styles are sheets made by script; in the page they would be an element, which the policy
    // refuses.
    const root = box.current.shadowRoot ?? box.current.attachShadow({ mode: "open" });
    view.current = new EditorView({ state, parent: root, root });
    return () => view.current?.destroy();
    // Another file is another editor, with a history of its own.
  }, [props.name, props.plain]);

  useEffect(() => {
    const now = view.current;
    const at = told.current.lastIndexOf(props.text);
    told.current.splice(0, at + 1);
    if (at >= 0 || !now || now.state.doc.toString() === props.text) return;
    // Changed elsewhere: another event was chosen, or the changes were undone.
    told.current = [];
    taking.current = true;
    now.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: props.text } });
    taking.current = false;
  }, [props.text]);

  return <div class={props.plain ? "editor plain" : "editor"} ref={box} />;
}
