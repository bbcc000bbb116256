import os

from celery import Celery

from zim_sync import run

app = Celery("chats", broker=os.environ["CELERY_BROKER_URL"])


@app.task
def forget(user_id: str, other_id: str) -> None:
    run(lambda zim: zim.clear_peer_message(from_user_id=user_id, to_user_id=other_id, priority="bulk"))
