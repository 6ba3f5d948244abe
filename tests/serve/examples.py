"""examples.py REVENANT MODEL: what stands in examples/ and in the Dockerfile does what it says."""
import json, os, re, shlex, shutil, signal, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

program, model = sys.argv[1], Path(sys.argv[2])
root = Path(__file__).resolve().parent.parent.parent
home = Path(tempfile.mkdtemp())
environment = {**os.environ, "REVENANT": program, "XDG_CONFIG_HOME": str(home)}


def start():
    server = subprocess.Popen([root / "examples/serve.sh", model, "0", "-t", "2"], stderr=subprocess.PIPE, text=True,
                              env=environment)
    while not (found := re.fullmatch(r"listening on (http://\S+)\n", line := server.stderr.readline())):
        assert line, "serve.sh ended"
    return server, found[1]


def ready(url):
    for _ in range(300):
        try:
            return json.load(urllib.request.urlopen(url + "/health"))["status"] == "ok"
        except urllib.error.HTTPError:
            time.sleep(0.1)


def health_check(port):
    """The Dockerfile's, on another port."""
    text = (root / "Dockerfile").read_text().replace("\\\n", "")
    command = json.loads(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.M)[1])
    assert "/8080 " in command[2]
    return subprocess.run([*command[:2], command[2].replace("/8080 ", f"/{port} ")], stderr=subprocess.DEVNULL).returncode


try:
    keys = home / "revenant/keys"
    for time_ in 1, 2:
        server, url = start()
        key = keys.read_text().strip()
        assert re.fullmatch("[0-9a-f]{64}", key) and keys.stat().st_mode & 0o777 == 0o600
        assert time_ == 1 or key == first  # it is made once
        first = key
        assert ready(url)
        port = url.rsplit(":", 1)[1]
        assert health_check(port) == 0
        try:
            urllib.request.urlopen(url + "/v1/models")
            raise SystemExit("no key was asked for")
        except urllib.error.HTTPError as error:
            assert error.code == 401
        asked = urllib.request.Request(url + "/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert json.load(urllib.request.urlopen(asked))["data"][0]["id"] == model.name
        try:
            import openai
        except ImportError:
            openai = None
        if openai and time_ == 1:
            pictures = [str(model / "examples" / name) for name in ("red_triangle.png", "boot.png")]
            describe = [sys.executable, root / "examples/describe.py", "--url", url + "/v1",
                        "--question", "what shape is in the image?", *pictures]
            told = subprocess.run(describe, capture_output=True, text=True, env={**os.environ, "REVENANT_API_KEY": key})
            assert told.returncode == 0 and told.stdout.startswith(f"{pictures[0]}: triangle\n{pictures[1]}: "), told
            told = subprocess.run(describe, capture_output=True, text=True)
            assert told.returncode == 1 and "401" in told.stderr, told
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert health_check(port) != 0

    # The unit names no option that there is not, and systemd knows every line of it.
    unit = (root / "examples/revenant.service").read_text()
    words = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.M)[1])
    options = subprocess.run([program, "serve", "--help"], capture_output=True, text=True).stdout
    for word in words[2:]:
        assert not word.startswith("-") or re.search(rf"(^|[ ,]){word}\b", options, re.M), word
    if shutil.which("systemd-analyze"):
        copy = home / "revenant.service"
        copy.write_text(unit.replace("/usr/local/bin/revenant", program))
        checked = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr.strip(), checked
    print("all well")
finally:
    shutil.rmtree(home)
