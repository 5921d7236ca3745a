"""Sign-in pages as static HTML without scripts, independent of the dashboard."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from cloud_backend.api.auth.origins import HOME, SIGN_IN

STYLE = """
:root { color-scheme: light dark; --ground: #f3f5f8; --card: #fff; --ink: #16202c; --quiet: #526070;
  --line: #8793a1; --accent: #0b5cad; --on-accent: #fff; --bad: #a3161a; --bad-ground: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f151c; --card: #18212b; --ink: #e8edf3;
  --quiet: #a7b3c1; --line: #66758a; --accent: #7ab8ff; --on-accent: #08203a; --bad: #ffb4b4;
  --bad-ground: #3d1a1d; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 24px 16px;
  background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 400px; background: var(--card); border-radius: 12px; padding: 32px 28px;
  box-shadow: 0 1px 3px rgb(0 0 0 / .16), 0 8px 28px rgb(0 0 0 / .08); }
h1 { margin: 0 0 4px; font-size: 24px; line-height: 1.25; letter-spacing: -.01em; }
p { margin: 0 0 20px; color: var(--quiet); }
.mark { margin: 0 0 20px; color: var(--accent); font-weight: 650; letter-spacing: .02em; }
label { display: block; margin: 0 0 6px; font-weight: 600; }
input { width: 100%; margin: 0 0 18px; padding: 11px 12px; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
button, .button { display: block; width: 100%; padding: 12px; font: inherit; font-weight: 650;
  cursor: pointer; color: var(--on-accent); background: var(--accent);
  border: 0; border-radius: 8px; text-align: center; text-decoration: none; }
button:hover, .button:hover { filter: brightness(1.1); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.problem { padding: 10px 12px; margin: 0 0 18px; color: var(--bad); background: var(--bad-ground);
  border-left: 4px solid currentColor; border-radius: 6px; }
h1 + .problem { margin-top: 14px; }
details { margin: 22px 0 0; color: var(--quiet); font-size: 15px; }
summary { cursor: pointer; color: var(--accent); }
ul { margin: 10px 0 0; padding-left: 20px; }
li { margin: 0 0 8px; }
code { font: 13.5px/1.4 ui-monospace, monospace; color: var(--ink); overflow-wrap: anywhere; }
.problem code { color: inherit; }
"""
STYLE_DIGEST = f"sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}"
"""Digest of `STYLE` for the content security policy."""

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%230b5cad'/%3E"
    "%3Cpath d='M4 8a4 4 0 0 1 7-2.6M12 8a4 4 0 0 1-7 2.6' stroke='%23fff' stroke-width='2' fill='none'/%3E"
    "%3C/svg%3E"
)
_HELP = """
<details><summary>Where do I find the password?</summary>
<ul>
<li>The cloud printed it once, at its first start.</li>
<li>The cloud's operator can set a new one: <code>edgeloop cloud password --data DIR</code></li>
<li>Or open the dashboard without one: <code>edgeloop cloud link --data DIR</code></li>
<li>The API’s admin token (<code>DIR/secrets/admin-token</code>) is accepted as well.</li>
</ul></details>"""


def sign_in_page(
    next_page: str = HOME,
    *,
    problem: str = "",
    name: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """The form; ``problem`` is that of the last attempt."""
    alert = f'<p class="problem" role="alert" id="problem">{escape(problem)}</p>' if problem else ""
    invalid = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    on_name, on_password = ("", " autofocus") if name else (" autofocus", "")
    body = f"""<h1>Sign in</h1>
<p>to the dashboard of this cloud</p>
{alert}<form method="post" action="{SIGN_IN}">
<input type="hidden" name="next" value="{escape(next_page)}">
<label for="name">Your name</label>
<input id="name" name="name" value="{escape(name)}" maxlength="60" required autocomplete="username"{on_name}>
<label for="password">Password</label>
<input id="password" name="password" type="password" maxlength="1024" required
 autocomplete="current-password"{invalid}{on_password}>
<button type="submit">Sign in</button>
</form>{_HELP}"""
    return _page("Sign in · edgeloop", body, status, headers)


def used_link_page() -> HTMLResponse:
    """Answer to a used or expired one-time link."""
    body = f"""<h1>This link is no longer valid</h1>
<p class="problem" role="alert">A sign-in link is valid once, within two minutes. Create a new one with
<code>edgeloop cloud link</code>, or sign in with the password.</p>
<a class="button" href="{SIGN_IN}">Sign in</a>"""
    return _page("Sign in · edgeloop", body, 401)


def refused_page(reason: str, status: int) -> HTMLResponse:
    """A page with the reason of a refusal."""
    body = f"""<h1>Request refused</h1>
<p class="problem" role="alert">{escape(reason)}</p>
<a class="button" href="{HOME}">To the dashboard</a>"""
    return _page("edgeloop", body, status)


def redirect_page(page: str) -> HTMLResponse:
    """Redirects from a page of ours, so that the browser sends the Strict cookie.

    It would omit the cookie after a link on another site.
    """
    head = f'<meta http-equiv="refresh" content="0;url={escape(page)}">'
    body = f'<h1>One moment</h1>\n<p>Opening the page.</p>\n<a class="button" href="{escape(page)}">Open</a>'
    return _page("edgeloop", body, 200, head=head)


def outage_page(page: str) -> HTMLResponse:
    """Reports that the database does not answer, and reloads every five seconds."""
    head = f'<meta http-equiv="refresh" content="5;url={escape(page)}">'
    body = """<h1>The database does not answer</h1>
<p class="problem" role="alert">The cloud is running, but its database does not answer. Nodes buffer their
events meanwhile. This page reloads every five seconds.</p>"""
    return _page("edgeloop", body, 503, {"Retry-After": "5"}, head=head)


def _page(
    title: str, body: str, status: int, headers: dict[str, str] | None = None, *, head: str = ""
) -> HTMLResponse:
    content = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="{_ICON}">{head}
<style>{STYLE}</style></head>
<body><main><p class="mark">edgeloop</p>
{body}
</main></body></html>
"""
    return HTMLResponse(content, status, headers)
