#!/usr/bin/env python3
"""Asks a server about pictures by OpenAI's own client (pip install openai), and prints the answers as they come.

    revenant serve -m models/phantom-nano &
    examples/describe.py photo.jpg other.png --question "what shape is in the image?"

Any server of OpenAI's routes will do: --url; its key is $REVENANT_API_KEY.
"""
import argparse, base64, mimetypes, os, sys
from pathlib import Path

import openai


def data_uri(picture):
    kind = mimetypes.guess_type(picture)[0] or "image/png"  # servers look at the bytes
    return f"data:{kind};base64,{base64.b64encode(Path(picture).read_bytes()).decode()}"


def describe(client, model, picture, question):
    stream = client.chat.completions.create(model=model, stream=True, messages=[{
        "role": "user",
        "content": [{"type": "text", "text": question},
                    {"type": "image_url", "image_url": {"url": data_uri(picture)}}]}])
    for chunk in stream:
        if chunk.choices:
            yield chunk.choices[0].delta.content or ""


def main():
    parser = argparse.ArgumentParser(description="what a model says of pictures")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--question", default="What is in this picture?")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", help="its name there; without it the first that the server lists")
    args = parser.parse_args()
    client = openai.OpenAI(base_url=args.url, api_key=os.environ.get("REVENANT_API_KEY", "none"))
    try:
        model = args.model or client.models.list().data[0].id
        for picture in args.pictures:
            print(f"{picture}: ", end="")
            for text in describe(client, model, picture, args.question):
                print(text, end="", flush=True)
            print()
    except (openai.OpenAIError, OSError) as error:
        sys.exit(f"describe.py: {error}")


if __name__ == "__main__":
    main()
