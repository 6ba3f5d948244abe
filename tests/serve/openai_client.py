"""openai_client.py REVENANT MODEL: starts the server and asks it as OpenAI's own client does."""
import base64, json, os, re, signal, subprocess, sys, tempfile, threading, time, urllib.request
from pathlib import Path

import openai

program, model = sys.argv[1], Path(sys.argv[2])
picture = "data:image/png;base64," + base64.b64encode(
    (model / "examples/red_triangle.png").read_bytes()).decode()
QUESTION = "what shape is in the image?"
KEY = "sk-test"


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([program, "serve", "-m", model, "--port", "0", *options],
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        self.url = re.fullmatch(r"listening on (http://\S+)\n", line)[1]
        self.rest = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.rest.start()
        for _ in range(600):
            try:
                if json.load(urllib.request.urlopen(self.url + "/health"))["status"] == "ok":
                    return
            except urllib.error.HTTPError as error:
                assert error.code == 503
            time.sleep(0.1)
        raise SystemExit("the server never became ready")

    def metric(self, name):
        request = urllib.request.Request(self.url + "/metrics", headers={"X-Api-Key": KEY})
        text = urllib.request.urlopen(request).read().decode()
        return float(re.search(rf"^revenant:{name}{{[^}}]*}} (.*)$", text, re.M)[1])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


def see(text, url=picture):
    return [{"role": "user", "content": [{"type": "text", "text": text},
                                         {"type": "image_url", "image_url": {"url": url}}]}]


def refused(kind, call, **fields):
    try:
        call()
    except kind as error:
        for name, value in fields.items():
            assert getattr(error, name) == value, (name, getattr(error, name), value)
        return error
    raise AssertionError(f"not refused as {kind}")


def sse(text):
    """Strictly: `data: X`, an empty line, and nothing else but comments."""
    assert text.endswith("\n\n")
    events = [e for e in text[:-2].split("\n\n") if not e.startswith(":")]
    assert all(re.fullmatch(r"data: [^\r\n]+", e) for e in events), events
    return [e[6:] for e in events]


def talk(server):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0)
    name = client.models.list().data[0].id
    assert name == model.name and client.models.retrieve(name).id == name

    def chat(messages=see(QUESTION), **more):
        return client.chat.completions.create(model=name, messages=messages, **more)

    whole = chat()
    assert whole.choices[0].message.content == "triangle", whole
    assert whole.choices[0].finish_reason == "stop" and whole.choices[0].message.role == "assistant"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "triangle"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens

    scored = chat(logprobs=True, top_logprobs=3, max_completion_tokens=4, temperature=1, seed=1, n=2)
    assert len(scored.choices) == 2
    token = scored.choices[0].logprobs.content[0]
    assert len(token.top_logprobs) == 3 and token.logprob <= 0
    assert bytes(token.bytes).decode() == token.token
    again = chat(logprobs=True, top_logprobs=3, max_completion_tokens=4, temperature=1, seed=1, n=2)
    assert [c.model_dump() for c in again.choices] == [c.model_dump() for c in scored.choices]

    text = client.completions.create(model=name, prompt="a red", max_tokens=4, logprobs=2)
    assert "".join(text.choices[0].logprobs.tokens) == text.choices[0].text
    assert whole.model_extra["revenant"]["parameters"]["temperature"] == 0

    system = chat([{"role": "system", "content": "Be brief."}] + see(QUESTION), user="me",
                  max_tokens=2)
    assert system.model_extra["revenant"]["ignored"] == ["user"]

    schema = {"type": "object", "properties": {"shape": {"type": "string", "maxLength": 20},
                                               "sure": {"type": "boolean"}},
              "required": ["shape", "sure"], "additionalProperties": False}
    kept = chat(response_format={"type": "json_schema",
                                 "json_schema": {"name": "s", "schema": schema, "strict": True}})
    made = json.loads(kept.choices[0].message.content)
    assert set(made) == {"shape", "sure"} and isinstance(made["sure"], bool), made

    # Its default is base64, which it reads itself.
    vectors = client.embeddings.create(model=name, input=["a red circle", see(QUESTION)])
    numbers = client.embeddings.create(model=name, input=["a red circle", see(QUESTION)],
                                       encoding_format="float")
    for a, b in zip(vectors.data, numbers.data, strict=True):
        assert list(a.embedding) == b.embedding and abs(sum(x * x for x in b.embedding) - 1) < 1e-4
    assert vectors.data[0].embedding != vectors.data[1].embedding
    refused(openai.BadRequestError, lambda: client.embeddings.create(
        model=name, input="x", dimensions=7), param="dimensions")

    bad = openai.BadRequestError
    refused(bad, lambda: chat(response_format={"type": "json_schema", "json_schema": {
        "name": "s", "schema": {"type": "string", "pattern": "a"}}}), code="unsupported_schema",
            param="response_format.json_schema.schema.pattern")
    refused(bad, lambda: chat(temperature=-1), param="temperature", code="invalid_value")
    refused(bad, lambda: chat(extra_body={"nonsense": 1}), param="nonsense",
            code="unknown_parameter")
    refused(bad, lambda: chat(see("x", "http://127.0.0.1/x.png")), code="unsupported_url",
            param="messages[0].content[1].image_url")
    refused(bad, lambda: chat(see("x", "data:image/png;base64,AAAA")), code="invalid_image")
    refused(openai.NotFoundError, lambda: client.chat.completions.create(model="x", messages=see("x")),
            param="model", code="model_not_found")
    stranger = openai.OpenAI(base_url=server.url + "/v1", api_key="sk-other", max_retries=0)
    refused(openai.AuthenticationError, lambda: stranger.models.list(), code="invalid_api_key")

    # Leaving in the middle frees the place.
    endless = dict(messages=[{"role": "user", "content": "tell me"}], max_tokens=1900,
                   logit_bias={"2044": -100})
    stream = chat(stream=True, **endless)
    next(iter(stream))
    stream.close()
    for _ in range(100):
        if server.metric("num_requests_running") == 0:
            break
        time.sleep(0.02)
    assert server.metric("num_requests_running") == 0
    assert server.metric("requests_disconnected_total") == 1
    assert server.metric("pictures_encoded_total") == 1  # all asked about one

    # Many at once, each as alone.
    answers, threads = {}, []
    for i in range(8):
        ask = lambda i=i: answers.__setitem__(i, chat(temperature=1.5, seed=i, max_tokens=8,
                                                      logprobs=True))
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for i in range(8):
        alone = chat(temperature=1.5, seed=i, max_tokens=8, logprobs=True)
        assert alone.choices[0].model_dump() == answers[i].choices[0].model_dump(), i

    body = json.dumps({"model": name, "messages": see(QUESTION), "stream": True}).encode()
    request = urllib.request.Request(server.url + "/v1/chat/completions", body,
                                     {"Authorization": "Bearer " + KEY})
    events = sse(urllib.request.urlopen(request).read().decode())
    assert events[-1] == "[DONE]"
    assert all(json.loads(e)["object"] == "chat.completion.chunk" for e in events[:-1])


with tempfile.NamedTemporaryFile("w") as keys:
    keys.write("# of the test\n" + KEY + "\n")
    keys.flush()
    os.chmod(keys.name, 0o600)
    server = Server("--api-key-file", keys.name, "-t", "2")
    try:
        talk(server)
        # SIGTERM lets an answer on its way finish.
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0)
        stream = iter(client.chat.completions.create(
            model=model.name, messages=[{"role": "user", "content": "tell me"}], max_tokens=200,
            logit_bias={"2044": -100}, stream=True))
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        assert [c.choices[0].finish_reason for c in stream][-1] == "length"
        assert server.process.wait(60) == 0
        # Of what anybody may read, no keys are taken.
        os.chmod(keys.name, 0o644)
        wrong = subprocess.run([program, "serve", "-m", model, "--port", "0", "--api-key-file",
                                keys.name], capture_output=True, text=True)
        assert wrong.returncode == 1 and "chmod 600" in wrong.stderr, wrong
    finally:
        server.process.kill()
print("all well")
