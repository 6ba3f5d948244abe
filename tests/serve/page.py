#!/usr/bin/env python3
"""The page of `revenant serve` in Chromium: page.py PROGRAM MODEL [FOLDER for screenshots]."""
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

program, model = sys.argv[1], Path(sys.argv[2])
shots = Path(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3] else None
triangle = model / "examples" / "red_triangle.png"
expect.set_options(timeout=30000)
endless = {"max_tokens": 1900, "n": 8, "logit_bias": {"2044": -100}}  # the end is never chosen; eight are slow enough


@contextmanager
def server(*more, environment=None):
    process = subprocess.Popen([program, "serve", "-m", model, "--port", "0", "-t", "1", *more], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **(environment or {})})
    try:
        for line in process.stderr:
            if at := re.search(r"http://\S+", line):
                break
        yield at[0]
    finally:
        process.terminate()
        process.wait(30)


class Test:
    """A context of the browser, with nothing kept from others, and what went wrong in it."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(viewport={"width": 1180, "height": 800}, **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.wrong = []
        self.hosts = set()
        self.page = self.open(url)

    def open(self, url):
        page = self.context.new_page()
        page.set_default_timeout(60000)
        page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.wrong.append(str(e)))
        page.on("request", lambda r: self.hosts.add(re.match(r"[a-z]+:(//[^/]*)?", r.url)[0]))
        page.goto(url)
        expect(page.get_by_label("Your message")).to_be_visible()
        return page

    def shot(self, name):
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=shots / f"{name}.png")

    def end(self, allowed=()):
        rest = [w for w in self.wrong if not any(a in w for a in allowed)]
        assert not rest, rest
        self.context.close()


def drop(page, path):
    data = page.evaluate_handle(
        """([bytes, name]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], name, {type: 'image/png'}));
            return data;
        }""", [base64.b64encode(path.read_bytes()).decode(), path.name])
    for event in ("dragover", "drop"):
        page.dispatch_event("main.chat", event, {"dataTransfer": data})


def ask(page, text):
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def answers(page):
    return page.locator("article.assistant")


def answered(page, count):
    expect(answers(page)).to_have_count(count)
    expect(page.get_by_label("Send")).to_be_visible()
    return answers(page).nth(count - 1)


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def chat(browser, url):
    t = Test(browser, url)
    page = t.page
    t.shot("empty")
    drop(page, triangle)
    expect(page.get_by_alt_text("red_triangle.png")).to_be_visible()
    ask(page, "what shape is in the image?")
    first = answered(page, 1)
    expect(first.locator(".text")).to_contain_text("triangle")
    expect(first.locator("footer")).to_contain_text(re.compile(r"\d+ tokens after"))
    expect(page.locator("article.user img")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    assert page.title().startswith("phantom-nano"), page.title()
    t.shot("answer")

    # Reload: the conversation is there, with its picture; a second question keeps both.
    page.reload()
    expect(answers(page).locator(".text")).to_contain_text("triangle")
    ask(page, "which colour?")
    answered(page, 2)

    # Edit: what came after the question goes.
    page.get_by_label("Edit and ask again").first.click()
    page.get_by_label("Edit your message").fill("what colour is the shape?")
    page.keyboard.press("Enter")
    answered(page, 1)
    expect(page.locator("article.user .text")).to_have_text("what colour is the shape?")
    page.get_by_label("Answer again").click()
    answered(page, 1)

    # A second conversation, deleted and brought back; export, import.
    page.get_by_role("button", name="New conversation").click()
    ask(page, "hello")
    answered(page, 1)
    side = page.locator("nav.side li")
    expect(side).to_have_count(2)
    page.get_by_label("Delete this conversation").click()
    expect(side).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(side).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    file = json.loads(Path(download.value.path()).read_text())
    assert file["format"] == "revenant-conversations-1" and len(file["conversations"]) == 2
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(file, f)
        f.flush()
        page.set_input_files("[data-test=import]", f.name)
        expect(side).to_have_count(4)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        f.write("{}")
        f.flush()
        page.set_input_files("[data-test=import]", f.name)
        expect(page.locator(".notice")).to_contain_text("no conversations")
        expect(side).to_have_count(4)

    # By paste and by file; one of them is taken away again; what is no picture is said.
    page.get_by_role("button", name="New conversation").click()
    page.set_input_files("[data-test=files]", [str(triangle), str(model / "examples" / "boot.png")])
    expect(page.locator(".composer li")).to_have_count(2)
    page.get_by_label("Remove boot.png").click()
    expect(page.locator(".composer li")).to_have_count(1)
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], 'pasted.png', {type: 'image/png'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        }""", base64.b64encode(triangle.read_bytes()).decode())
    expect(page.locator(".composer li")).to_have_count(2)
    page.set_input_files("[data-test=files]", {"name": "x.png", "mimeType": "image/png", "buffer": b"nothing"})
    expect(page.locator(".notice")).to_contain_text("no picture")
    assert t.hosts <= {url, "data:", "blob:" + url}, t.hosts
    t.end()


def streams_and_stops(browser, url):
    t = Test(browser, url)
    page = t.page

    def never_ending(route):
        route.continue_(post_data=json.dumps({**route.request.post_data_json, **endless}))

    page.route("**/v1/chat/completions", never_ending)
    ask(page, "tell me")
    text = answers(page).locator(".text")
    for length in (1, 30):
        page.wait_for_function("n => document.querySelector('article.assistant .text')?.innerText.length > n", arg=length)
    page.keyboard.press("Escape")
    expect(answers(page).locator("footer")).to_contain_text("Stopped")
    stopped = text.inner_text()
    # The server let it go, too.
    page.wait_for_function("() => fetch('metrics').then(r => r.text()).then(t => / 0$/.test(t.match(/^revenant:num_requests_running.*/m)))")
    assert text.inner_text() == stopped
    # Before its first word, for as long as the picture of the page takes.
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda route: None)
    ask(page, "again")
    expect(page.get_by_label("Stop")).to_be_visible()
    t.shot("streaming")
    page.get_by_label("Stop").click()
    expect(answers(page).nth(1).locator("footer")).to_contain_text("Stopped")
    page.unroute("**/v1/chat/completions")
    page.reload()
    expect(answers(page)).to_have_count(2)
    t.end()


markdown = """# Title
Some **bold**, *slanted*, `code <b>` and ~~gone~~; <img src=x onerror=alert(1)> stays text.

- one
- two [a link](https://example.com/) [no link](javascript:alert(1))
  1. inner

| a | b |
|---|---|
| 1 | <script>alert(1)</script> |

```html
<script>alert(2)</script>
```
> said ![pic](https://example.com/x.png)
"""


def events(*chunks):
    return "".join(f"data: {c if isinstance(c, str) else json.dumps(c)}\n\n" for c in chunks)


def safe_markdown(browser, url):
    t = Test(browser, url)
    page = t.page
    choice = lambda text, finish=None: {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    body = events(choice(markdown), choice("", "stop"), "[DONE]")
    page.route("**/v1/chat/completions", lambda r: r.fulfill(status=200, content_type="text/event-stream", body=body))
    page.on("dialog", lambda d: t.wrong.append("a dialog: " + d.message))
    ask(page, "<b>mine</b>")
    text = answered(page, 1).locator(".text")
    expect(page.locator("article.user .text")).to_have_text("<b>mine</b>")
    for tag, count in {"h3": 1, "strong": 1, "em": 1, "del": 1, "ul > li": 2, "ol > li": 1, "table td": 2, "pre code": 1,
                       "blockquote": 1, "a": 1, "img": 0, "script": 0, "b": 0}.items():
        expect(text.locator(tag)).to_have_count(count)
    expect(text).to_contain_text("<img src=x onerror=alert(1)> stays text")
    expect(text).to_contain_text("<script>alert(2)</script>")
    expect(text.locator("a")).to_have_attribute("rel", "noopener noreferrer nofollow")
    t.shot("markdown")
    t.end()


def errors_in_words(browser, url):
    t = Test(browser, url)
    page = t.page
    error = {"error": {"message": "too many requests wait", "type": "x", "param": None, "code": "queue_full"}}
    page.route("**/v1/chat/completions", lambda r: r.fulfill(
        status=503, headers={"Retry-After": "7", "Content-Type": "application/json"}, body=json.dumps(error)))
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_have_text("The server is busy: Too many requests wait. Try again in 7 s.")
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda r: r.fulfill(
        status=200, content_type="text/event-stream", body=events({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]})))
    page.get_by_label("Answer again").click()
    expect(page.get_by_role("alert")).to_contain_text("connection broke")
    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", lambda r: r.abort())
    page.get_by_label("Answer again").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/v1/chat/completions")
    page.get_by_label("Answer again").click()
    answered(page, 1)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_label("Your message").fill("word " * 5000)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("context has 2048 tokens")
    t.shot("error")
    t.end(allowed=["Failed to load resource"])


def settings(browser, url):
    t = Test(browser, url)
    page = t.page
    page.get_by_label("Settings").click()
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Seed").fill("11")
    page.get_by_label("Most tokens").fill("5")
    page.get_by_label("System text").fill("Be short.")
    t.shot("settings")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, "tell me")
    body = request.value.post_data_json
    assert body["temperature"] == 0.7 and body["seed"] == 11 and body["max_tokens"] == 5, body
    assert body["messages"][0] == {"role": "system", "content": "Be short."}, body
    assert "top_p" not in body, body
    answered(page, 1)
    page.reload()
    page.get_by_label("Settings").click()
    expect(page.get_by_label("Temperature")).to_have_value("0.7")
    t.end()


def themes_and_sizes(browser, url):
    t = Test(browser, url, color_scheme="dark")
    page = t.page
    page.set_input_files("[data-test=files]", str(triangle))
    ask(page, "what shape is in the image?")
    answered(page, 1)
    shade = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = shade()
    t.shot("dark")
    page.get_by_label("Settings").click()
    page.get_by_label("light").check()
    page.wait_for_function("dark => getComputedStyle(document.body).backgroundColor !== dark", arg=dark)
    page.keyboard.press("Escape")
    page.reload()
    assert shade() != dark
    page.set_viewport_size({"width": 360, "height": 640})
    assert overflow(page) == 0
    t.shot("small")
    expect(page.locator("nav.side")).not_to_be_visible()
    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("button", name="New conversation")).to_be_visible()
    t.shot("small_drawer")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("nav.side")).not_to_be_visible()
    page.get_by_label("Settings").click()
    assert overflow(page) == 0
    t.end()


def keyboard_only(browser, url):
    t = Test(browser, url)
    page = t.page
    focused = lambda: page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText")
    assert focused() == "Your message", focused()
    page.keyboard.type("what is it?")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("tell me")
    page.keyboard.press("Enter")
    answered(page, 1)
    expect(page.locator("article.user .text")).to_have_text("what is it?\ntell me")
    assert focused() == "Your message", focused()

    def tab_to(name, key="Tab"):
        for _ in range(40):
            page.keyboard.press(key)
            if name in focused():
                return
        raise AssertionError(f"{name} cannot be reached by {key}")

    tab_to("Answer again", "Shift+Tab")
    page.keyboard.press("Enter")
    answered(page, 1)
    tab_to("Settings", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused() == "Settings", focused()
    tab_to("Chat", "Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Dashboard")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Your message")).to_be_visible()
    # Whatever can be used has a name.
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input:not([hidden]), textarea, select, img')]
        .filter(e => !(e.ariaLabel || e.innerText || e.alt || e.labels?.length)).map(e => e.outerHTML)""")
    assert not nameless, nameless
    t.end()


def look_inside(browser, url):
    t = Test(browser, url)
    page = t.page
    page.set_input_files("[data-test=files]", str(triangle))
    ask(page, "What is in this picture?")
    answered(page, 1)
    page.get_by_role("button", name="Look inside").click()
    look = page.locator(".look")
    expect(look.locator("h2").first).to_have_text("Where the answer looks")
    expect(look.locator("img").first).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    drawn = lambda i: page.evaluate("i => document.querySelectorAll('.look canvas')[i].toDataURL()", i)
    words = look.locator(".words").first.locator("button")
    assert "".join(words.all_inner_texts()).startswith(answers(page).locator(".text").inner_text())
    first = drawn(0)
    words.nth(2).hover()
    expect(words.nth(2)).to_have_attribute("aria-pressed", "true")
    second = drawn(0)
    assert first != second
    page.mouse.move(5, 5)
    expect(words.nth(0)).to_have_attribute("aria-pressed", "true")
    assert drawn(0) == first
    # A layer by the slider and by keys; a gate by its name.
    slider = look.get_by_role("slider")
    slider.fill("0")
    expect(look.locator("output")).to_contain_text("0 of 0")
    assert drawn(0) != first
    words.nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(look.locator("output")).to_contain_text("1 of 0")
    gates = look.locator("section", has_text="Gates and ghosts")
    gates.get_by_label("Show").select_option("Phantom: size of ghost values")
    expect(gates).to_contain_text("How long the ghost value is")
    look.scroll_into_view_if_needed()
    t.shot("look")
    gates.scroll_into_view_if_needed()
    t.shot("look_gates")
    page.set_viewport_size({"width": 360, "height": 700})
    assert overflow(page) == 0
    look.scroll_into_view_if_needed()
    t.shot("look_small")
    page.get_by_role("button", name="Close the look inside").click()
    expect(look).to_have_count(0)
    t.end()


def dashboard(browser, url):
    t = Test(browser, url)
    page = t.page
    written = lambda: int(page.locator("dt", has_text="Tokens written").locator("xpath=following-sibling::dd").inner_text())
    page.get_by_role("tab", name="Dashboard").click()
    expect(page.locator(".plot")).to_have_count(6)
    before = written()
    # Answers that do not end, so that the page, however slow, sees them being written.
    page.evaluate("""body => {
        window.leave = new AbortController();
        fetch('v1/chat/completions', {method: 'POST', body: JSON.stringify(body), signal: window.leave.signal,
                                      headers: {'Content-Type': 'application/json'}}).catch(() => {});
    }""", {"messages": [{"role": "user", "content": "tell me"}], **endless})
    expect(page.get_by_role("img", name=re.compile("^Answers being written, now: 1;"))).to_be_visible()
    page.wait_for_function("() => document.querySelector('.plot polyline').points.length > 3")
    t.shot("dashboard")
    page.set_viewport_size({"width": 360, "height": 640})
    assert overflow(page) == 0
    page.evaluate("window.leave.abort()")
    expect(page.get_by_role("img", name=re.compile("^Answers being written, now: 0;"))).to_be_visible()
    assert written() > before
    t.end()


def key(browser):
    with server(environment={"REVENANT_API_KEY": "sesame"}) as url:
        t = Test(browser, url)
        page = t.page
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("textbox", name="Key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("none of its keys")
        page.get_by_role("textbox", name="Key").fill("sesame")
        t.shot("key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)
        ask(page, "hello")
        answered(page, 1)
        expect(page.get_by_role("alert")).to_have_count(0)
        assert page.evaluate("sessionStorage.getItem('revenant.key')") == "sesame"
        assert page.evaluate("JSON.stringify(localStorage)").find("sesame") < 0
        t.end(allowed=["401"])


with sync_playwright() as playwright, server() as url:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    tests = [chat, streams_and_stops, safe_markdown, errors_in_words, settings, themes_and_sizes, keyboard_only, look_inside, dashboard]
    for test in tests:
        test(browser, url)
        print(test.__name__, "well")
    key(browser)
    print("all well")
