"""What only Node functions can tell apart: AWS's Node runtime in detail, above all when a call is done."""

import json

import pytest

from fakehost import Gone

APP = "app.js"


@pytest.fixture
def start(spawn, node, folder):
    def begin(code, handler="app.handler", **options):
        files = code if isinstance(code, dict) else {APP: code}
        return spawn(node).ready(handler, task_root=folder(files), **options)

    return begin


@pytest.fixture
def call(start):
    def once(code, event=None, **options):
        return start(code, **options).invoke(event)

    return once


@pytest.fixture
def init_error(spawn, node, folder):
    def error(files, handler="app.handler"):
        return spawn(node).init_error(handler, task_root=folder(files))

    return error


# --- loading --------------------------------------------------------------------------------------------

CJS = "exports.handler = async () => 'cjs';"
ESM = "export const handler = async () => 'esm';"


@pytest.mark.parametrize(
    ("files", "handler", "answer"),
    [
        ({"app.js": CJS}, "app.handler", "cjs"),
        ({"app.cjs": CJS}, "app.handler", "cjs"),
        ({"app.mjs": ESM}, "app.handler", "esm"),
        ({"app": CJS}, "app.handler", "cjs"),
        ({"app.js": ESM, "package.json": '{"type": "module"}'}, "app.handler", "esm"),
        ({"a/b/app.js": ESM, "package.json": '{"type": "module"}'}, "a/b/app.handler", "esm"),
        ({"a/app.js": CJS, "a/package.json": "{}", "package.json": '{"type": "module"}'}, "a/app.handler", "cjs"),
        ({"app.js": CJS, "app.mjs": ESM}, "app.handler", "cjs"),
        ({"app/index.js": CJS}, "app.handler", "cjs"),
        ({"node_modules/app/index.js": CJS}, "app.handler", "cjs"),
        ({"app.js": "exports.a = { b: { handler: () => Promise.resolve('deep') } };"}, "app.a.b.handler", "deep"),
        ({"app.mjs": "await 1;\nexport default { handler: async () => 'top' };"}, "app.default.handler", "top"),
        ({"app.js": CJS, "app/other.js": ""}, "app.handler", "cjs"),
    ],
)
def test_handlers_are_found_as_on_aws(start, files, handler, answer):
    assert start(files, handler).invoke().json == answer


def test_a_module_may_import_its_packages(call):
    files = {
        "app.mjs": "import { x } from 'dep';\nexport const handler = async () => x;",
        "node_modules/dep/package.json": '{"name": "dep", "type": "module", "exports": "./i.js"}',
        "node_modules/dep/i.js": "export const x = 'from dep';",
    }
    assert call(files).json == "from dep"


def test_node_path_of_the_function_is_honoured(start, tmp_path):
    files = {"app.js": "const x = require('shared');\nexports.handler = async () => x;", "lib/shared.js": "module.exports = 3;"}
    assert start(files, env={"NODE_PATH": str(tmp_path / "lib")}).invoke().json == 3


def test_node_path_is_awss_where_the_function_has_none(call):
    path = call("exports.handler = async () => process.env.NODE_PATH;").json
    assert path.endswith("/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task")


@pytest.mark.parametrize(
    ("files", "handler", "kind", "message"),
    [
        ({}, "../app.handler", "Runtime.MalformedHandlerName", "'../app.handler' is not a valid handler name."),
        ({"app.js": "exports.handler = 1;"}, "app.handler", "Runtime.HandlerNotFound", "app.handler is not a function"),
        ({"app.mjs": "import 'absent';"}, "app.handler", "Error", "Cannot find package 'absent' imported from "),
        ({"app.mjs": "let let;"}, "app.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
        ({"app.js": "throw 'text';"}, "app.handler", "string", "text"),
        ({"app.js": "Promise.reject(new Error('lost')); exports.handler = () => {};"}, "app.handler", "Runtime.UnhandledPromiseRejection", "Error: lost"),
    ],
)  # fmt: skip
def test_init_errors(init_error, files, handler, kind, message):
    error = init_error(files, handler)
    assert error["errorType"] == kind and error["errorMessage"].startswith(message), error


def test_an_uncaught_error_while_loading_is_an_init_error(spawn, node, folder):
    code = "setImmediate(() => { throw new TypeError('late'); });\nawait new Promise((r) => setTimeout(r, 1e6));"
    host = spawn(node)
    error = host.init_error("app.handler", task_root=folder({"app.mjs": code}))
    assert (error["errorType"], error["errorMessage"]) == ("TypeError", "late")
    assert host.wait_exit() == 1


# --- when a call is done --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("callback(null, 1)", 1),
        ("callback(undefined, { a: [] })", {"a": []}),
        ("callback()", None),
        ("setTimeout(() => callback(null, 'late'), 2)", "late"),
        ("context.succeed('s')", "s"),
        ("context.done(null, 'd')", "d"),
        ("return { then: (done) => done('thenable') }", "thenable"),
        ("", None),
        ("return 'what a plain function returns is not its answer'", None),
        ("setTimeout(() => {}, 2)", None),
        ("return new Promise(() => {})", None),
        ("callback(null, 1); callback(null, 2); context.fail('x')", 1),
        ("return Promise.resolve(() => {})", None),
        ("context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 1e6); callback(null, 'now')", "now"),
        ("setTimeout(() => {}, 1e6); context.succeed('now')", "now"),
        ("setTimeout(() => {}, 1e6); return Promise.resolve('now')", "now"),
    ],
)
def test_a_call_is_done_as_on_aws(start, body, answer):
    host = start("exports.handler = (event, context, callback) => { %s };" % body)
    for _ in range(2):
        response = host.invoke()
        assert response.kind == "RESPONSE" and response.json == answer


def test_a_callback_waits_for_the_event_loop(start):
    code = """
let ended;
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event;
  ended = false;
  setTimeout(() => { ended = true; process.stdout.write('the loop is empty\\n'); }, event ? 5 : 1e6);
  callback(null, ended);
};
"""
    host = start(code)
    assert host.invoke(True).output == "the loop is empty\n"
    assert host.invoke(False).output == ""


def test_timers_go_on_between_two_calls(start):
    code = """
exports.handler = async (event) => { setTimeout(() => process.stdout.write('tick\\n'), 1); };
"""
    host = start(code)
    host.invoke()
    host.pump(lambda: b"tick" in host.output.got)


def test_an_open_server_keeps_a_call_alive_until_it_answers(start):
    code = """
const net = require('net');
const server = net.createServer().listen(0);
exports.handler = (event, context, callback) => {
  server.close(() => callback(null, 'closed'));
};
"""
    assert start(code).invoke().json == "closed"


def test_answering_twice_is_said_in_the_log(start):
    code = """
let old;
exports.handler = (event, context, callback) => {
  if (event === 'first') { old = callback; return; }
  old(null, 'too late');
  setTimeout(() => callback(null, 'second'), 1);
};
"""
    host = start(code)
    assert host.invoke("first").json is None
    answer = host.invoke("second")
    assert answer.json == "second"
    assert "Invocation has already been reported as done." in answer.messages[0]


def test_a_late_answer_does_not_disturb_the_call_that_runs(start):
    code = """
let old;
exports.handler = (event, context) => {
  if (event === 'first') old = context;
  else old.succeed('too late');
};
"""
    host = start(code)
    assert host.invoke("first").json is None
    assert host.invoke("second").json is None
    assert host.invoke("first").json is None


def test_a_call_while_another_runs_is_a_protocol_error(start):
    host = start("exports.handler = async (event) => event && new Promise((r) => setTimeout(r, 1e6));")
    host.invoke(False)
    host.send_invoke(b"true")
    host.send_invoke(b"false")
    assert host.wait_exit() == 1
    assert host.all_output() == "hearth: protocol error: an INVOKE while another one is running\n"


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("callback(new RangeError('r'))", "RangeError", "r"),
        ("callback('text')", "string", "text"),
        ("callback({ a: 1 })", "object", "[object Object]"),
        ("context.fail(new Error('f'))", "Error", "f"),
        ("context.fail()", "string", "handled"),
        ("context.done('d')", "string", "d"),
        ("throw 42", "number", "42"),
        ("throw new (class Custom extends Error { name = 'Custom' })('c')", "Custom", "c"),
        ("return Promise.reject('text')", "string", "text"),
        ("return Promise.reject()", "string", "handled"),
        ("throw Object.create(null)", "handled", "callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack"),
        ("const a = {}; a.a = a; return Promise.resolve(a)", "Error", "Unable to stringify response body"),
        ("const a = {}; a.a = a; callback(null, a)", "Error", "Unable to stringify response body"),
        ("context.callbackWaitsForEmptyEventLoop = false; callback(null, 1n)", "Error", "Unable to stringify response body"),
        ("return Promise.reject(Symbol('s'))", "symbol", "Symbol(s)"),
    ],
)  # fmt: skip
def test_errors_are_awss_and_the_instance_goes_on(start, body, kind, message):
    host = start("exports.handler = (event, context, callback) => { if (event) { %s } else callback(null, 'ok') };" % body)
    for event in True, False, True:
        answer = host.invoke(event)
        if event:
            assert answer.kind == "ERROR", answer
            assert (answer.json["errorType"], answer.json["errorMessage"]) == (kind, message)
            assert len(answer.logs) == 1 and "\tERROR\tInvoke Error \t{" in answer.messages[0]
        else:
            assert answer.json == "ok"


def test_the_trace_is_the_lines_of_the_stack(call, tmp_path):
    trace = call("exports.handler = async () => { throw new Error('a\\nb'); };").json["trace"]
    assert trace[:2] == ["Error: a", "b"]
    assert trace[2].startswith("    at ") and f"{tmp_path}/app.js:1:" in trace[2]


def test_the_log_of_an_error_has_what_was_hung_onto_it(call):
    code = "exports.handler = async () => { throw Object.assign(new Error('e'), { code: 'E1', extra: [1] }); };"
    (message,) = call(code).messages
    fields = json.loads(message.split("\t")[-1])
    assert (fields["code"], fields["extra"], fields["errorMessage"]) == ("E1", [1], "e")


@pytest.mark.parametrize(
    ("body", "kind", "message", "status"),
    [
        ("setImmediate(() => { throw new TypeError('loose'); })", "TypeError", "loose", 129),
        ("setImmediate(() => { throw 'text'; })", "string", "text", 129),
        ("Promise.reject(new Error('lost'))", "Runtime.UnhandledPromiseRejection", "Error: lost", 128),
        ("Promise.reject(7)", "Runtime.UnhandledPromiseRejection", "7", 128),
    ],
)
def test_what_nobody_caught_is_answered_and_ends_the_process(start, body, kind, message, status):
    host = start("exports.handler = () => { %s; return new Promise(() => setTimeout(() => {}, 1e6)); };" % body)
    answer = host.invoke()
    assert (answer.kind, answer.json["errorType"], answer.json["errorMessage"]) == ("ERROR", kind, message)
    assert answer.messages[0].split("\t")[3] in ("Uncaught Exception ", "Unhandled Promise Rejection ")
    assert host.wait_exit() == status


def test_what_nobody_caught_between_two_calls_ends_the_process_without_an_answer(start):
    host = start("exports.handler = async () => { setTimeout(() => { throw new Error('late'); }, 1); return 1; };")
    assert host.invoke().json == 1
    with pytest.raises(Gone):
        host.next_frame(host.invoke_stream)
    assert host.wait_exit() == 129


# --- output and logs ---------------------------------------------------------------------------------------------


def test_every_method_of_console_has_its_level(call):
    code = """
exports.handler = async () => {
  for (const method of ['trace', 'debug', 'log', 'info', 'warn', 'error', 'fatal']) console[method](method, { a: [1] });
};
"""
    logs = call(code).logs
    assert [log["level"] for log in logs] == [1, 2, 3, 3, 4, 5, 6]
    assert logs[2]["message"].split("\t")[2:] == ["INFO", "log { a: [ 1 ] }"]


def test_lines_of_one_message_stay_together(call):
    (log,) = call("exports.handler = async () => console.log('a\\nb');").logs
    assert log["message"].endswith("\tINFO\ta\nb")


def test_before_the_first_call_the_request_id_is_undefined(start):
    host = start("console.log('early');\nexports.handler = async () => {};")
    host.drain()
    assert host.logs[0]["message"].endswith("Z\tundefined\tINFO\tearly") and host.logs[0]["request_id"] == ""


def test_json_lines_keep_objects_and_errors(call):
    code = """
exports.handler = async () => {
  console.log({ order: 7, error: new TypeError('t') });
  const loop = {}; loop.loop = loop;
  console.log(loop);
};
"""
    first, second = (json.loads(m) for m in call(code, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}).messages)
    assert first["message"]["order"] == 7 and first["message"]["error"]["errorType"] == "TypeError"
    assert "[Circular *1]" in second["message"] and second["level"] == "INFO"


def test_levels_below_the_setting_are_silent_and_fatal_never(call):
    code = "exports.handler = async () => { console.info('i'); console.warn('w'); console.fatal('f'); };"
    assert [log["level"] for log in call(code, env={"AWS_LAMBDA_LOG_LEVEL": "warn"}).logs] == [4, 6]


# --- context and processes -----------------------------------------------------------------------------------------


def test_the_context_without_client_or_identity(call):
    code = "exports.handler = async (e, c) => [typeof c.clientContext, typeof c.identity, c.callbackWaitsForEmptyEventLoop];"
    assert call(code).json == ["undefined", "undefined", True]


def test_trace_ids_leave_nothing_behind(start):
    code = """
const { readFileSync } = require('fs');
exports.handler = async (what) => {
  // What the C library has, and not V8.
  if (what === 'heap') return Number(/\\[heap\\]\\n(?:.*\\n){2,5}?Rss: +(\\d+)/.exec(readFileSync('/proc/self/smaps', 'utf8'))[1]);
  if (what === 'other') process.env = { ...process.env };
  if (what === 'own') process.env._X_AMZN_TRACE_ID = 'mine';
  return process.env._X_AMZN_TRACE_ID;
};"""
    host = start(code)
    trace = "Root=1-67891233-abcdef012345678912345678;Parent=%016d;Sampled=0"

    def heap_after(calls):
        for number in range(calls):
            assert host.invoke(1, trace_id=trace % number).json == trace % number
        return host.invoke("heap").json

    before = heap_after(2000)
    assert heap_after(20000) - before < 1500, "KiB; as variables they take over 2000"
    assert host.invoke("own", trace_id="t1").json == "mine"
    assert host.invoke(1, trace_id="t2").json == "t2"
    assert host.invoke("other", trace_id="t3").json is None
    assert host.invoke(1, trace_id="t4").json == "t4"
    assert host.invoke(1, trace_id="").json is None


def test_the_remaining_time_counts_down_beyond_the_deadline(start):
    host = start("exports.handler = async (e, c) => c.getRemainingTimeInMillis();")
    assert host.invoke(deadline_ms=1).json < 0


def test_exit_handlers_run_at_the_end(start):
    host = start("process.on('exit', () => process.stdout.write('goodbye\\n'));\nexports.handler = async () => {};")
    host.invoke()
    assert host.finish() == 0
    assert host.all_output() == "goodbye\n"


def test_a_protocol_error_in_the_middle_of_a_life(start):
    host = start("exports.handler = async () => {};")
    host.invoke()
    host.invoke_stream.send(b"\x00\x00\x00\x00\x12")
    assert host.wait_exit() == 1
    assert host.all_output() == "hearth: protocol error: payload without an INVOKE\n"
