"""Wrong input: one clear line on standard error, exit 2, no request; a wrong rule fails alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

USAGE = [
    (["--proc", "0"], "'0' is not a whole number of at least 1"),
    (["-p=-3"], "'-3' is not a whole number"),
    (["--retries", "-1"], "'-1' is not a whole number of at least 0"),
    (["--retries", "many"], "'many' is not a whole number"),
    (["--forse"], "did you mean --force?"),
    (["--force=perhaps"], "write --force=true or --force=false"),
    (["--force", "false"], "unknown command 'false'"),
    (["snyc"], "did you mean sync?"),
    (["sync", "please"], "unexpected word 'please'"),
    (["copy", "nginx"], "copy needs a source and at least one destination"),
    (["copy", "nginx:/(/", "r.io/nginx"], "invalid regular expression"),
    (["--registry", "r", "--namespace", "ns"], "the default registry 'r' is not a host or host:port"),
    (["--os", "linux,"], "--os"),
    (["--arch", ":v8"], "--arch"),
    (["--drain", "soon"], "'soon' is not a time"),
    (["--bandwidth", "0"], "'0' is not a bandwidth of 1KB/s or more: write 20MB/s"),
    (["--images", "images.toml"], ".json"),
    (["--images", "images.txt"], "images.txt is a list: give its destination, --to TEMPLATE"),
    (["--images", "images.txt", "--registry", "r.io"], "give its destination"),
    (["--images", "images.txt", "--to", "r.io/x"], "images.txt: the file does not exist"),
    (["--to", "r.io/x"], "--to is for plain lists"),
    (["--to="], "argument --to: it is empty"),
    (["copy", "a/b:1", "c/d", "--to", "r.io/x"], "--to is for plain lists"),
    (["--images", "-"], "standard input: the file is empty"),
    (["--images", "-", "--to", "r.io/x"], "standard input: the list names no image"),
    (["--images", "nothing.json"], "nothing.json"),
    (["--log", "no/such/folder/run.log"], "no/such/folder/run.log"),
    (["--log-level", "loud"], "loud"),
    (["--output-success-images", "no/such/good.yaml"], "no/such"),
    (["--output-failed-images", "bad.txt"], ".yaml"),
    (["--output-images-format", "xml"], "xml"),
    (["--report", "no/such/report.html"], "no/such/report.html"),
    (["--report", "."], "it is a folder"),
    (["--progress", "bar"], "bar"),
    (["--report", ""], "argument --report: is empty"),
    (["--metrics-file="], "argument --metrics-file: is empty"),
    (["--all-tags"], "--all-tags goes with copy SOURCE DESTINATION; a rules file copies every tag"),
    (["--insecure"], "--insecure goes with copy SOURCE DESTINATION; write it into --auth FILE"),
    (["--src-creds", "bot:hunter2"], "--src-creds goes with copy SOURCE DESTINATION"),
    (["copy", "a/b:1", "c/d", "--all-tags"], "--all-tags is given, but the source names its tags"),
    (["copy", "a/b:1", "c/d", "--src-creds", "bot"], "argument --src-creds: write USER:-"),
    (["copy", "a/b:1", "c/d", "--dest-creds=:hunter2"], "argument --dest-creds: write USER:-"),
    (["copy", "a/b:1", "c/d", "--src-cred=bot:hunter2"], "unknown flag --src-cred; did you mean"),
    (["copy", "a/b:1", "c/d", "--dest-creds", "bot:$NOWHERE"], "the variable NOWHERE is not set or empty"),
    (["copy", "a/b:1", "c/d", "--src-creds=a:-", "--dest-creds=b:-"], "cannot both read standard input"),
    (["copy", "a/b:1", "c/d", "--src-creds=a:-"], "standard input holds no password"),
    (["copy", "a/b:1", "a/b:2", "--src-creds=a:x", "--dest-creds=b:x"], "give it one login"),
    (["--report", "report.txt"], "its name must end in .html"),
    (["sync", "images.yaml"], "did you mean --images images.yaml?"),
    (["sync", "nginx:1", "r.io/nginx"], "did you mean copy nginx:1 r.io/nginx?"),
    (["plan", "images.yaml"], "did you mean --images images.yaml?"),
    (["images.yaml"], "did you mean --images images.yaml?"),
    (["nginx:1", "r.io/nginx"], "did you mean copy nginx:1 r.io/nginx?"),
    (["--drain", "9" * 400], "is too long"),
    (["--patience", "99999h"], "is too long: at most 10000h"),
    (["--proc", "9" * 5000], "is not a whole number"),
    (["--metrics-listen", ":" + "9" * 5000], "is not an address"),
    (["--output-success-images", "x.yaml", "--output-failed-images", "./x.yaml"], "are the same file"),
    (["--output-success-images", "images.json"], "--images and --output-success-images are the same file"),
    (["--output-failed-images", "images.json"], "--images and --output-failed-images are the same file"),
    (["--log", "images.json"], "--images and --log are the same file"),
    (["--report", "r.html", "--log", "r.html"], "--report and --log are the same file"),
    (["copy", "a/b:1", "c/d", "--images", "images.json"], "omit --images images.json"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE)
def test_wrong_flag_is_named(command: Command, arguments: list[str], words: str) -> None:
    """A wrong flag or argument is named in one line."""
    command.rules({})

    result = command.run(*arguments)

    assert (result.code, len(result.text.splitlines())) == (2, 1), result.text
    assert words in result.text
    assert "hunter2" not in result.text
    assert not (command.folder / "records").exists()


FILES = [
    ("images.json", "", "empty"),
    ("images.json", "{", "images.json:1"),
    ("images.json", '{"a/b:1": 5}', "images.json:1:11"),
    ("images.json", '{"a/b:1": ["c/d", []]}', "images.json:1:19"),
    ("images.json", "[]", "images.json:1"),
    ("images.yaml", "a/b:1: &x [*x]", "images.yaml:1"),
    ("images.yaml", "a/b:1: !!python/object:os.system x", "images.yaml:1"),
    ("images.yaml", "<<: a/b", "images.yaml:1"),
    ("images.yaml", "a: b: c", "images.yaml:1"),
    ("auth.json", '{"r.io": {"username": ["x"]}}', "auth.json:1:23"),
    ("auth.json", '{"r.io": {"username": "x"}}', "auth.json:1:2: 'r.io' has a username and no password"),
    ("auth.json", '{"r.io": "secret-word"}', "auth.json:1:10"),
    ("auth.yaml", "r.io: {username: u, password: $UNSET_VARIABLE}", "UNSET_VARIABLE"),
    ("auth.json", '{"r.io": {"rate": "0/s"}}', "auth.json:1:19: rate of 'r.io' is not understood"),
    ("auth.json", '{"r.io": {"ca": "no.pem"}}', "auth.json:1:17: ca of 'r.io'"),
    ("auth.json", '{"r.io": {"passwrod": "secret-word"}}', "auth.json:1:11: 'r.io' has no field 'passwrod'"),
    ("auth.json", '{"docker.io": {"mirrors": ["r.io"]}}', "auth.json:1:28: mirrors of 'docker.io': r.io is"),
    ("auth.json", '{"r.io": {"proxy": "http://u:secret-word@:1"}}', "auth.json:1:20: proxy of 'r.io'"),
    ("config.json", '{"auth": {}}', "images"),
]


@pytest.mark.parametrize(("name", "text", "words"), FILES)
def test_wrong_file_is_named_with_the_place(command: Command, name: str, text: str, words: str) -> None:
    """A wrong file is named in one line, with the place in it, and without a value that may be a secret."""
    command.rules({"a/b:1": "r.io/b"})
    path = command.write(name, text)
    flag = f"--{path.stem}"

    result = command.run(flag, name)

    assert (result.code, len(result.text.splitlines())) == (2, 1), result.text
    assert words in result.text
    assert "secret-word" not in result.text


def test_wrong_rules_fail_alone(command: Command, scripted: Scripted) -> None:
    """Each invalid rule is reported before any request; the other rules run, and the exit code is 1."""
    source, mirror = scripted(), scripted()
    source.add("a", image(layer("one")), "v1")
    command.insecure(source.address, mirror.address)
    command.rules(
        {
            f"{source.address}/a:v1": f"{mirror.address}/a",
            "": f"{mirror.address}/b",
            f"{source.address}/Upper:v1": f"{mirror.address}/b",
            f"{source.address}/c:v1,v2": f"{mirror.address}/c:v1",
            f"{source.address}/d:/[/": f"{mirror.address}/d",
            f"{source.address}/e:v1": f"{mirror.address}/$NO_SUCH_VARIABLE",
            f"{source.address}/f:v1": "",
        }
    )

    result = command.run()

    assert (result.code, result.finish["copied"], result.finish["rules_failed"]) == (1, 1, 6), result.text
    assert len(result.events("config.rule_invalid")) == 6
    assert {entry.path.split("/")[2] for entry in source.requests()} == {"a"}


@pytest.mark.parametrize("text", ["{}", '{"a/b": []}'])
def test_file_without_rules_is_valid(command: Command, text: str) -> None:
    """A rules file without rules is valid."""
    command.write("images.json", text)

    assert command.run().code == (0 if text == "{}" else 1)


def test_missing_rules_file_error_says_how_to_name_one(command: Command) -> None:
    """Without any rules file the error says how to name one."""
    result = command.run()

    assert (result.code, len(result.text.splitlines())) == (2, 1)
    assert "images.json or images.yaml" in result.text


def test_last_of_duplicate_keys_wins(command: Command, scripted: Scripted) -> None:
    """The last of two equal keys wins, with a warning that names both lines."""
    mirror = scripted()
    command.write("images.json", f'{{"r.invalid/a:v1": "{mirror.address}/a",\n"r.invalid/a:v1": "bad tag"}}')

    result = command.run("--retries", "0")

    (warning,) = result.events("config.duplicate_key")
    assert "2" in warning["line"]
    assert "1" in warning["first_line"]
    assert result.finish["rules_failed"] == 1


def test_defaults_from_the_environment(command: Command, scripted: Scripted) -> None:
    """An empty destination goes to the default registry and namespace of the environment; a flag wins."""
    source, mirror = scripted(), scripted()
    source.add("deep/er/app", image(layer("one")), "v1")
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/deep/er/app": ""})

    result = command.run("--namespace", "ours", DEFAULT_REGISTRY=mirror.address, DEFAULT_NAMESPACE="theirs")

    assert result.code == 0, result.text
    assert mirror.tags("ours/app") == source.tags("deep/er/app")


def test_legacy_config_file_and_flag_spellings(command: Command, scripted: Scripted) -> None:
    """--config has rules and credentials, and Go's spellings of flags are accepted."""
    source, mirror = scripted(auth="basic"), scripted()
    source.add("app", image(layer("one")), "v1")
    secret = {"username": "$WHO", "password": "${WORD}", "insecure": True}
    command.write(
        "config.json",
        {
            "auth": {source.address: secret, mirror.address: {"insecure": True}},
            "images": {f"{source.address}/app": f"{mirror.address}/app"},
        },
    )

    result = command.run(
        "-p=6", "-r2", "--force=false", "--os=linux", "--arch", "amd64", WHO="user", WORD="pass"
    )

    assert result.code == 0, result.text
    assert mirror.tags("app") == source.tags("app")


def test_help_imports_little() -> None:
    """--help fits 80 columns and imports neither requests nor any other package of ours."""
    code = (
        "import sys\nfrom pipeline.cli.main import main\n"
        "try:\n    main(['--help'], {})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'requests', 'urllib3', 'structlog', 'yaml', 'diskcache', 're2', 'asyncio'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *lines, last = done.stdout.splitlines()
    assert last == "[]"
    assert max(map(len, lines)) <= 80
    assert "image-syncer --auth auth.yaml --images images.yaml" in done.stdout


@pytest.mark.parametrize("module", ["--version"])
def test_version(command: Command, module: str) -> None:
    """--version names the program and its version on standard output."""
    result = command.run(module)

    assert (result.code, result.output.split()[0]) == (0, "image-syncer")


OPTIONS = [
    ("{too: r.io/b}", "2:7: rule 'a/b': unknown option 'too'; did you mean to?"),
    (
        "{to: r.io/b, tags: {newest: 0}}",
        "2:34: rule 'a/b': tags.newest must be a number of at least 1",
    ),
    ("{to: r.io/b, tags: {newest: many}}", "2:34: rule 'a/b': tags.newest must be a number"),
    ("{to: r.io/b, force: 3}", "2:26: rule 'a/b': force must be true or false"),
    ("{to: r.io/b, tags: 'b:1*'}", "2:25: rule 'a/b': tags: no tag matches 'b:1*'"),
    (
        "{to: r.io/b, tags: '/a(?=b)/'}",
        "2:25: rule 'a/b': tags: invalid regular expression /a(?=b)/",
    ),
    ("'r.io/{nmae}'", "2:6: rule 'a/b': {nmae} is not a placeholder; did you mean name?"),
    ("{to: r.io/b, delete: {extra: true}}", "2:19: rule 'a/b': this version cannot do delete"),
    ("ocidir:///srv/b", "2:6: rule 'a/b': this version cannot read or write ocidir:// folders"),
    ("[r.io/b, {to: r.io/c}]", "2:15: rule 'a/b': a list is all of one kind"),
]


@pytest.mark.parametrize(("value", "words"), OPTIONS)
def test_wrong_option_fails_its_rule(command: Command, value: str, words: str) -> None:
    """A wrong option is one line with file, line and column, and fails its rule before any request."""
    command.write("images.yaml", f"# rules\na/b: {value}\n")

    result = command.run()

    (event,) = result.events("config.rule_invalid")
    assert (result.code, result.finish["rules_failed"]) == (1, 1), result.text
    assert event["msg"].startswith(f"images.yaml:{words}")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a/b:1", "images.yaml:1:27: rule 'a/b:1': the tags are named twice"),
        ("a/b:/1/", "images.yaml:1:29: rule 'a/b:/1/': the tags are named twice"),
        ("a/*/c", "images.yaml:1:1: rule 'a/*/c': 'a/*/c' names no registry"),
    ],
)
def test_options_that_contradict_the_source(command: Command, source: str, words: str) -> None:
    """Tags that both the source and the options name, and a pattern without a registry, fail the rule."""
    command.write("images.yaml", f"{source}: {{to: r.io/b, tags: v*}}\n")

    result = command.run()

    (event,) = result.events("config.rule_invalid")
    assert result.code == 1
    assert event["msg"].startswith(words)


def test_mistake_in_defaults_fails_the_file(command: Command) -> None:
    """A mistake in .defaults fails the whole file with exit 2, since it affects every rule."""
    command.write("images.yaml", "a/b: r.io/b\n.defaults:\n  tags: {newst: 3}\n")

    result = command.run()

    assert (result.code, len(result.text.splitlines())) == (2, 1), result.text
    assert "images.yaml:3:10: unknown option 'tags.newst'; did you mean newest?" in result.text


def test_missing_re2_fails_only_expressions(command: Command, scripted: Scripted) -> None:
    """Without google-re2 only the rules with an expression fail, and say what to install."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules(
        {
            f"{source.address}/team/app:/v1/": f"{mirror.address}/copy/expression",
            f"{source.address}/team/app:v1": f"{mirror.address}/copy/name",
        }
    )
    command.insecure(source.address, mirror.address)
    hidden = command.folder / "hidden"
    hidden.mkdir()
    (hidden / "re2.py").write_text("raise ImportError('no wheel for this machine')")
    result = command.run(PYTHONPATH=f"{hidden}:{command.environ['PYTHONPATH']}")

    assert result.code == 1
    assert list(mirror.tags("copy/name")) == ["v1"]
    assert [each["reason"] for each in result.events("config.rule_invalid")] == [
        "regular expressions need google-re2, which is not installed: pip install google-re2"
    ]
