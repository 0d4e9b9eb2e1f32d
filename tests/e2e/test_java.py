"""Java: jars, classes and sources as packages, servers in a jar, and what is refused before it is deployed."""

import shutil
import subprocess
import zipfile

import pytest

from conformance import java_cases
from harness.wait import until
from harness.web import request

ECHO = """
package app;

import java.util.Map;

public class Echo {
    public Map<String, Object> handle(Map<String, Object> event) {
        return Map.of("event", event, "version", Runtime.version().feature(), "heap", Runtime.getRuntime().maxMemory() >> 20,
                      "collectors", java.lang.management.ManagementFactory.getGarbageCollectorMXBeans().get(0).getName());
    }
}
"""

SERVER = """
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;

public class Server {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.createContext("/", exchange -> {
            byte[] body = (exchange.getRequestMethod() + " " + exchange.getRequestURI()).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
"""


@pytest.fixture(scope="module")
def java(doctor):
    """The function's runtime here, or why there is none."""
    if not shutil.which("javac"):
        pytest.skip("no javac: nothing of Java can be deployed from its source")
    found = [one["name"] for one in doctor["runtimes"] if one["name"].startswith("java")]
    if not found:
        pytest.skip("no Java that functions can run on, says hearth doctor")
    return found[0]


@pytest.fixture
def built(tmp_path):
    """built({path: source}, release) compiles them: a folder of classes."""

    def build(sources, release=17):
        folder = tmp_path / "source"
        for path, text in sources.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        classes = tmp_path / "classes"
        flags = ["--release", str(release), "-d", classes, *folder.rglob("*.java")]
        subprocess.run(["javac", "--add-modules", "jdk.httpserver", *flags], check=True, capture_output=True, timeout=60)
        return classes

    return build


@pytest.fixture
def deploy(hearth, java):
    made = []

    def one(name, path, *flags):
        ran = hearth.cli.run("deploy", path, "--name", name, "--runtime", java, "--memory", "256MB", "--json", *flags)
        if ran.code == 0:
            made.append(name)
        return ran

    yield one
    for name in made:
        hearth.api.remove(name)


def jar(classes, path, main=None):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n" + (f"Main-Class: {main}\n" if main else ""))
        for one in sorted(classes.rglob("*.class")):
            file.write(one, one.relative_to(classes))
    return path


def test_a_jar_is_a_package(hearth, java, built, deploy, tmp_path):
    path = jar(built({"app/Echo.java": ECHO}), tmp_path / "echo.jar")
    ran = deploy("java-jar", path, "--handler", "app.Echo::handle")
    assert ran.code == 0, ran
    answer = hearth.cli.ok("invoke", "java-jar", '{"n": 1}').json()
    assert answer["event"] == {"n": 1} and f"java{answer['version']}" == java
    # By the sandbox's memory, and with the least memory of its own.
    assert 180 <= answer["heap"] <= 220 and answer["collectors"] == "Copy"


def test_jars_in_lib_are_found(hearth, built, deploy, tmp_path):
    folder = tmp_path / "package"
    (folder / "lib").mkdir(parents=True)
    jar(built({"app/Echo.java": ECHO}), folder / "lib/echo.jar")
    assert deploy("java-lib", folder, "--handler", "app.Echo::handle").code == 0
    assert hearth.cli.ok("invoke", "java-lib", '{"n": 1}').json()["event"] == {"n": 1}


def test_sources_are_compiled_at_the_deploy(hearth, java, deploy, tmp_path):
    folder = tmp_path / "hello"
    hearth.cli.ok("init", folder, "--runtime", java)
    ran = deploy("java-init", folder)
    assert ran.code == 0 and "1 source installed" in str(ran.json()["remarks"]), ran
    assert hearth.cli.ok("invoke", "java-init", '{"name": "Ada"}').json() == {"message": "Hello, Ada!"}
    assert request(hearth, "GET", "/fn/java-init/?name=Ada").json() == {"message": "Hello, Ada!"}
    source = folder / "src/main/java/app/Handler.java"
    source.write_text(source.read_text().replace("Object greet(", "Nothing greet(").replace("return greet(", "return great("))
    ran = deploy("java-init", folder)
    assert ran.code != 0 and "do not compile" in ran.stderr and "great" in ran.stderr, ran


def test_dependencies_of_a_pom_are_put_into_lib(hearth, deploy, tmp_path):
    if not shutil.which("mvn"):
        pytest.skip("no Maven")
    if not java_cases.core():
        pytest.skip("Maven cannot get aws-lambda-java-core")
    folder = tmp_path / "maven"
    (folder / "src/main/java").mkdir(parents=True)
    (folder / "pom.xml").write_text((java_cases.HERE / "java/pom.xml").read_text())
    (folder / "src/main/java/Own.java").write_text(
        "import java.io.File;\npublic class Own { public String[] handle() { return new File(\"lib\").list(); } }\n"
    )
    assert deploy("java-pom", folder, "--handler", "Own::handle").code == 0
    # And a path that is not absolute is one of the function's folder.
    assert hearth.cli.ok("invoke", "java-pom", "{}").json() == ["aws-lambda-java-core-1.2.3.jar"]


@pytest.mark.parametrize("driver", ["namespace", "docker", "gvisor"])
def test_a_server_in_a_jar_is_a_web_function(hearth, built, deploy, need_driver, tmp_path, driver):
    need_driver(driver)
    path = jar(built({"Server.java": SERVER}), tmp_path / "server.jar", main="Server")
    name = f"java-web-{driver}"
    ran = deploy(name, path, "--web", "--isolation", driver, "--timeout", "20s")
    assert ran.code == 0, ran
    assert request(hearth, "POST", f"/fn/{name}/a?b=c").body == b"POST /a?b=c"


def test_a_class_for_a_later_java_is_refused(hearth, java, built, deploy, tmp_path):
    folder = built({"app/Echo.java": ECHO})
    file = folder / "app/Echo.class"
    content = bytearray(file.read_bytes())
    content[6:8] = (99).to_bytes(2, "big")
    file.write_bytes(content)
    ran = deploy("java-late", folder, "--handler", "app.Echo::handle")
    version = java.removeprefix("java")
    assert ran.code != 0
    assert f"app.Echo is compiled for Java 55, and {java} runs what is compiled for Java {version} at most" in ran.stderr, ran


def test_a_handler_has_to_be_said(deploy, built):
    ran = deploy("java-none", built({"app/Echo.java": ECHO}))
    assert ran.code != 0 and "say --handler package.Class, or package.Class::method" in ran.stderr, ran


def test_a_web_package_without_its_jar_is_refused(deploy, built):
    ran = deploy("java-nojar", built({"app/Echo.java": ECHO}), "--web")
    assert ran.code != 0 and "has no file bootstrap.jar" in ran.stderr, ran


def test_a_function_s_own_options_win(hearth, built, deploy):
    options = "JAVA_TOOL_OPTIONS=-Xmx50m -XX:+UseParallelGC"
    ran = deploy("java-options", built({"app/Echo.java": ECHO}), "--handler", "app.Echo::handle", "--env", options)
    assert ran.code == 0, ran
    answer = hearth.cli.ok("invoke", "java-options", "{}").json()
    assert answer["heap"] <= 50 and "PS" in answer["collectors"]


def test_a_jar_that_is_none_is_refused_in_words(deploy, tmp_path):
    (tmp_path / "broken.jar").write_text("no zip")
    ran = deploy("java-broken", tmp_path / "broken.jar", "--handler", "app.Echo::handle")
    assert ran.code != 0 and "is not a zip that can be read" in ran.stderr, ran


WHERE = """
import java.io.*;
import java.nio.file.*;
import java.util.*;

public class Where {
    public Map<String, Object> handle() throws IOException {
        String maps = Files.readString(Path.of("/proc/self/maps"));
        String child = new String(new ProcessBuilder("env").start().getInputStream().readAllBytes());
        return Map.of("files", new File(".").list(), "read", new FileInputStream("note.txt").readAllBytes().length,
                      "archive", maps.contains("/var/runtime/java/java"), "child", child.contains("OWN=grün"),
                      "stem", System.getenv().keySet().stream().filter(name -> name.contains("STEM")).toList());
    }
}
"""


@pytest.mark.parametrize("driver", ["namespace", "docker", "gvisor"])
@pytest.mark.parametrize("stem", [False, True], ids=["", "stem"])
def test_an_instance_is_in_its_folder_with_its_environment(new_hearth, java, built, need_driver, driver, stem):
    need_driver(driver)
    folder = built({"Where.java": WHERE})
    (folder / "note.txt").write_text("four")
    hearth = new_hearth(arguments=() if stem else ("--stems", "0")).start()
    flags = ["--handler", "Where::handle", "--runtime", java, "--isolation", driver, "--env", "OWN=grün", "--timeout", "20s"]
    hearth.cli.ok("deploy", folder, "--name", "where", *flags)
    if stem:
        until(f"a stem of {java} on {driver}", lambda: hearth.api.stems(driver), within=30)
    answer = hearth.cli.ok("invoke", "where", "{}", "--json").json()
    record = hearth.api.record("where", answer["request_id"])
    assert (record["cold"], record["stem"]) == (True, stem), record
    seen = answer["payload"]
    # gVisor's maps do not name files.
    assert seen.pop("archive") or driver == "gvisor"
    assert sorted(seen.pop("files")) == ["Where.class", "note.txt"]
    assert seen == {"read": 4, "child": True, "stem": []}
