#!/usr/bin/env python3
"""look.py REVENANT MODEL: the look of an answer is the text that `view --json` prints."""
import base64, json, re, subprocess, sys, urllib.request
from pathlib import Path

program, model = sys.argv[1], Path(sys.argv[2])
question = "what shape is in the image?"
server = subprocess.Popen([program, "serve", "-m", model, "--port", "0", "-t", "2"], stderr=subprocess.PIPE, text=True)
try:
    url = re.search(r"http://\S+", server.stderr.readline())[0]
    for picture in ["red_triangle.png", "boot.png", ""]:
        file = model / "examples" / picture
        content = [{"type": "text", "text": question}]
        if picture:
            uri = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
            content.append({"type": "image_url", "image_url": {"url": uri}})
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 12, "revenant": {"look": True}}
        request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode())
        for _ in range(100):
            try:
                got = json.load(urllib.request.urlopen(request))
                break
            except urllib.error.HTTPError as error:
                assert error.code == 503, error.read()
        seen = json.dumps(got["revenant"]["look"], sort_keys=True)
        command = [program, "view", "-m", model, "-p", question, "-n", "12", "-o", "/dev/null", "--json", "-"]
        view = subprocess.run(command + (["--image", file] if picture else []), check=True, capture_output=True, text=True)
        assert seen == json.dumps(json.loads(view.stdout), sort_keys=True), picture
        assert got["choices"][0]["message"]["content"] == got["revenant"]["look"]["answer"]
    print("all well")
finally:
    server.terminate()
    server.wait()
