"""options.py REVENANT MODEL: every option of `serve`, set to another value than its default, shows."""
import base64, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request

program, model = sys.argv[1], sys.argv[2]
picture = os.path.abspath(model) + "/examples/red_triangle.png"
with open(picture, "rb") as file:
    uri = "data:image/png;base64," + base64.b64encode(file.read()).decode()
DEFAULTS = ["-m", model, "--port", "0", "-t", "2"]


class Server:
    def __init__(self, *options, environment=None):
        self.process = subprocess.Popen([program, "serve", *options], stderr=subprocess.PIPE,
                                        text=True, env=environment)
        while not (found := re.fullmatch(r"listening on https?://(\S+):(\d+)\n",
                                         line := self.process.stderr.readline())):
            assert line.startswith("revenant: warning"), line
        self.host, self.port = found[1], int(found[2])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        for _ in range(600):
            if self.ask("/health")[0] == 200:
                return
            time.sleep(0.1)
        raise SystemExit("never ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, path, body=None, headers={}, timeout=60):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            answer = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read().decode()
        return answer.status, json.loads(text) if text[:1] == "{" else text, answer.headers

    def props(self):
        return self.ask("/props")[1]

    def threads(self):
        return int(re.search(r"^Threads:\s*(\d+)", open(f"/proc/{self.process.pid}/status").read(),
                             re.M)[1])


def chat(text="tell me", **more):
    return {"messages": [{"role": "user", "content": text}], **more}


with Server(*DEFAULTS) as plain, Server(
        "-m", model, "--port", "0", "-t", "3", "--alias", "other", "-n", "7", "-c", "99",
        "--temp", "0.5", "--top-k", "9", "--top-p", "0.25", "--min-p", "0.125",
        "--repeat-penalty", "1.5", "--parallel", "3", "--queue", "5", "--queue-each", "4",
        "--max-images", "2", "--max-pixels", "777", "--image-memory", "11", "--cache-memory", "13",
        "--cache-type", "bf16", "--config-set", "revenant.phantom=false", "--max-body", "1", "--cors-origin", "https://page.example",
        "--weights", "q8_0") as other:
    a, b = plain.props(), other.props()
    assert a["model"] == "phantom-nano" and b["model"] == "other"
    for name, value in {"n_ctx": 99, "parallel": 3, "image_memory": 11 << 20,
                        "cache_memory": 13 << 20, "cache_type": "bf16", "phantom": False}.items():
        assert b[name] == value != a[name], (name, a[name], b[name])
    for name, value in {"max_tokens": 7, "temperature": 0.5, "top_k": 9, "top_p": 0.25,
                        "min_p": 0.125, "repetition_penalty": 1.5}.items():
        assert b["default_parameters"][name] == value != a["default_parameters"][name], name
    for name, value in {"queue": 5, "queue_each": 4, "pictures": 2,
                        "picture_pixels": 777}.items():
        assert b["limits"][name] == value != a["limits"][name], name
    assert other.threads() == plain.threads() + 1
    status, answer, _ = other.ask("/v1/chat/completions", chat())
    assert status == 200 and answer["usage"]["completion_tokens"] <= 7
    large = {"prompt": "x" * (2 << 20)}
    assert plain.ask("/tokenize", large)[0] == 200 and other.ask("/tokenize", large)[0] == 413
    origin = {"Origin": "https://page.example"}
    assert plain.ask("/props", headers=origin)[0] == 403
    assert other.ask("/props", headers=origin)[2]["Access-Control-Allow-Origin"] == origin["Origin"]
    # --weights: other numbers.
    score = lambda server: server.ask("/v1/completions", {
        "prompt": "a", "max_tokens": 1, "logprobs": 5, "temperature": 0,
        "logit_bias": {"2044": -100}})[1]["choices"][0]["logprobs"]
    with Server(*DEFAULTS, "--weights", "q4_0") as quantised:
        assert score(plain) != score(quantised)

# --drain: a long answer is cut, where without it it would have had its time.
with Server(*DEFAULTS, "--drain", "0.01") as server:
    body = json.dumps(chat(stream=True, max_tokens=1900, logit_bias={"2044": -100})).encode()
    stream = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/chat/completions", body)
    stream.readline()
    server.process.send_signal(signal.SIGTERM)
    assert b"shutting_down" in stream.read() and server.process.wait(60) == 0

with Server("-m", model, "--port", "0", "--host", "0.0.0.0", "--max-connections", "1",
            "--api-key", "k1") as server:
    assert server.host == "0.0.0.0"
    assert server.ask("/props")[0] == 401
    assert server.ask("/props", headers={"X-Api-Key": "k1"})[0] == 200
    with socket.create_connection(("127.0.0.1", server.port)) as first:
        time.sleep(0.2)
        try:
            server.ask("/health", timeout=0.5)
            raise SystemExit("two connections at once")
        except (TimeoutError, urllib.error.URLError):
            pass
    assert server.ask("/health", timeout=10)[0] == 200

with Server(*DEFAULTS, environment={"REVENANT_API_KEY": "k2"}) as server:
    assert server.ask("/props")[0] == 401
    assert server.ask("/props", headers={"Authorization": "Bearer k2"})[0] == 200

# The shipped model has no TroL: that these ask for it is refused, so they arrive.
for option, value, key in (("--traverse", "off", "trol_traverse"), ("--passes", "3", "trol_passes"),
                           ("--traverse-threshold", "0.5", "trol_threshold")):
    refused = subprocess.run([program, "serve", *DEFAULTS, option, value], capture_output=True,
                             text=True, timeout=60)
    assert refused.returncode == 1 and key in refused.stderr, refused

# --cache-dir, --cache-dir-size: another server finds what the first one computed, or has no room.
with tempfile.TemporaryDirectory() as place:
    long_one = chat("red circle " * 900, max_tokens=2)
    cached = lambda server: server.ask("/v1/chat/completions", long_one)[1]["usage"][
        "prompt_tokens_details"]["cached_tokens"]
    for expected in False, True:
        with Server(*DEFAULTS, "--cache-dir", place + "/cache") as server:
            assert (cached(server) > 64) == expected
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)
    files = lambda: sum(f.stat().st_size for f in os.scandir(place + "/cache"))
    assert files() > 1 << 20
    with Server(*DEFAULTS, "--cache-dir", place + "/cache", "--cache-dir-size", "1") as server:
        assert files() <= 1 << 20

# -m again, --model-memory: the second is loaded when it is asked for, and the first goes.
for memory, both in ("0", True), ("12", False):  # the model has 10
    with Server("-m", model, "-m", f"second={model}", "--port", "0", "-t", "2",
                "--model-memory", memory) as server:
        listed = lambda: {m["id"]: m["loaded"] for m in server.ask("/v1/models")[1]["data"]}
        assert listed() == {"phantom-nano": True, "second": False}
        status, answer, _ = server.ask("/v1/chat/completions", chat(model="second", max_tokens=2))
        assert status == 200 and answer["model"] == "second", answer
        assert listed() == {"phantom-nano": both, "second": True}
        status, answer, _ = server.ask("/v1/chat/completions", chat(model="third"))
        assert status == 404 and answer["error"]["code"] == "model_not_found", answer
        assert server.ask("/v1/chat/completions", chat(max_tokens=2))[1]["model"] == "phantom-nano"
refused = subprocess.run([program, "serve", "-m", model, "-m", f"x={model}", "--model-memory", "1"],
                         capture_output=True, text=True)
assert refused.returncode == 1 and "expected at most 1048576 bytes" in refused.stderr, refused

# --abstain: nothing is sure enough, of the first model or of the one that is named.
with tempfile.TemporaryDirectory() as place:
    rows = [{"question": f"<image>\nwhat is number {i}?", "answer": "x", "image": picture}
            for i in range(2)]
    with open(place + "/rows.json", "w") as file:
        json.dump(rows, file)
    made = subprocess.run([program, "calibrate", "-m", model, "--data", place + "/rows.json", "-o",
                           place + "/made.json", "--examples", "2", "--risk", "0.99"],
                          capture_output=True, text=True)
    assert made.returncode == 0, made
    with open(place + "/made.json") as file:
        strict = dict(json.load(file), threshold=0)
    with open(place + "/made.json", "w") as file:
        json.dump(strict, file)
    seen = {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": uri}}]}]}
    for name, abstain in ("phantom-nano", "/made.json"), ("second", "second=" + place + "/made.json"):
        with Server("-m", model, "-m", f"second={model}", "--port", "0", "--abstain",
                    abstain if "=" in abstain else place + abstain) as server:
            for asked in "phantom-nano", "second":
                answer = server.ask("/v1/chat/completions", dict(seen, model=asked))[1]
                assert (answer["choices"][0]["message"]["content"] is None) == (asked == name), answer

# --media-path, --allow-media-domain: what of a picture by URL is wrong is another thing then.
with tempfile.TemporaryDirectory() as place:
    name = next(name for name in os.listdir(model + "/examples") if name.endswith(".png"))
    shutil.copy(f"{model}/examples/{name}", place)
    see = lambda url: {"max_tokens": 1, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]}]}
    urls = f"file://{place}/{name}", f"file://{name}", "https://pictures.invalid:8443/a.png"
    told = lambda server: [(status, answer.get("error", {}).get("code")) for status, answer, _ in (
        server.ask("/v1/chat/completions", see(url)) for url in urls)]
    with Server(*DEFAULTS) as plain, Server(*DEFAULTS, "--media-path", place) as files, Server(
            *DEFAULTS, "--allow-media-domain", "pictures.invalid:8443",
            "--allow-media-domain", "pictures.example") as hosts:
        no, there = (400, "unsupported_url"), (200, None)
        assert told(plain) == [no, no, no]
        assert told(files) == [there, there, no]
        assert told(hosts) == [no, no, (400, "image_unavailable")]
for options, code, told in ((["--media-path", "/none"], 2, "--media-path"),
                            (["--media-path", "/"], 1, "all of this machine"),
                            (["--allow-media-domain", "127.0.0.1"], 1, "no address"),
                            (["--allow-media-domain", "*.example"], 1, "no address")):
    refused = subprocess.run([program, "serve", *DEFAULTS, *options], capture_output=True, text=True)
    assert refused.returncode == code and told in refused.stderr, refused

# TLS itself: tests/serve/tls_test.cc.
for options, code, told in ((["--ssl-cert-file", "/none.pem"], 2, "--ssl-key-file"),
                            (["--ssl-key-file", "/none.pem"], 2, "--ssl-cert-file"),
                            (["--ssl-cert-file", "/none.pem", "--ssl-key-file", "/key.pem"], 1,
                             "/none.pem: expected a certificate")):
    refused = subprocess.run([program, "serve", *DEFAULTS, *options], capture_output=True, text=True)
    assert refused.returncode == code and told in refused.stderr, refused

# A port that is taken is said so.
with Server(*DEFAULTS) as server:
    taken = subprocess.run([program, "serve", "-m", model, "--port", str(server.port)],
                           capture_output=True, text=True)
    assert taken.returncode == 1 and "a port that is free" in taken.stderr, taken
print("all well")
