from typing import Any

import sentry_sdk


def drop_signature(data: dict[str, Any]) -> None:
    if "Signature=" in str(data.get("http.query", "")):
        data["http.query"] = "[signed]"


def before_breadcrumb(crumb: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    drop_signature(crumb.get("data") or {})
    return crumb


def before_send_transaction(event: Any, hint: dict[str, Any]) -> Any:
    for span in event.get("spans", []):
        drop_signature(span.get("data") or {})
    return event


def init(dsn: str, **options: Any) -> None:
    sentry_sdk.init(
        dsn, before_breadcrumb=before_breadcrumb, before_send_transaction=before_send_transaction, **options
    )
