"""A small web service, as an example of a real build."""
import os

import bottle
import waitress

app = bottle.Bottle()


@app.get("/")
def hello():
    return {"message": "hello", "user": os.getuid()}


@app.get("/health")
def health():
    return "ok"


if __name__ == "__main__":
    waitress.serve(app, host="127.0.0.1", port=int(os.environ["PORT"]))
