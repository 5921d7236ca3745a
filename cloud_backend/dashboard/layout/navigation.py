"""Static HTML of the frame: navigation, top bar of narrow screens, placeholder heading.

It is part of the page's source, so a browser paints it before the page's scripts have run. Links, menu and
sign-out work without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MOUNT = "/ui"
ENTRIES = (
    ("fleet", "Fleet", "lan"),
    ("apps", "Apps", "apps"),
    ("alerts", "Alerts", "notifications"),
    ("models", "Models", "model_training"),
    ("learning", "Learning", "school"),
    ("rollouts", "Rollouts", "rocket_launch"),
    ("data", "Data", "storage"),
    ("settings", "Settings", "settings"),
)
"""Path, name and icon of each navigation entry; apps append theirs."""
THEME_COOKIE = "edgeloop-theme"
DRAWN_MARK = "edgeloop-page-drawn"
"""Mark in the browser's performance timeline: the page has replaced its placeholder."""
_THEME = f"""<script>
  {{
    const kept = document.cookie.match(/(?:^|; ){THEME_COOKIE}=(dark|light)/)?.[1];
    const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.body.classList.add(dark ? "body--dark" : "body--light");
  }}
  function toggleTheme() {{
    const dark = !document.body.classList.contains("body--dark");
    const kept = "{THEME_COOKIE}=" + (dark ? "dark" : "light");
    document.cookie = kept + ";path={MOUNT};max-age=31536000;samesite=strict";
    document.body.classList.toggle("body--dark", dark);
    document.body.classList.toggle("body--light", !dark);
    window.Quasar?.Dark.set(dark);
  }}
  function toggleNavigation(button) {{
    button.setAttribute("aria-expanded", document.body.classList.toggle("navigation-open"));
  }}
</script>"""
"""Sets the theme before the first paint, as Quasar does later."""
_FIRST = f"""<div id="first" class="page" aria-hidden="true"><div class="page-head"><h1></h1></div></div>
<script>
  document.querySelector("#first h1").textContent = document.title.replace(/ · edgeloop$/, "");
  new MutationObserver((_, watching) => {{
    if (!document.getElementById("app")?.hasChildNodes()) return;
    document.getElementById("first").remove();
    performance.mark("{DRAWN_MARK}");
    watching.disconnect();
  }}).observe(document.body, {{ childList: true, subtree: true }});
</script>"""
"""Placeholder heading; removed in the same animation frame in which the page appears."""


def draw(entries: Sequence[tuple[str, str, str]], path: str, person: str) -> str:
    """HTML of the frame around the page at ``path``; ``entries`` are path, name and icon of each."""
    links: list[str] = []
    here = max((place for place, _, _ in entries if is_current(path, place)), key=len, default=None)
    for number, (place, name, icon) in enumerate(entries):
        if number == len(ENTRIES):
            links.append('<div class="navigation-head">Pages of the apps</div>')
        current = ' aria-current="page"' if place == here else ""
        links.append(
            f'<a class="entry" href="{MOUNT}/{escape(place)}"{current}>'
            f'<i class="q-icon material-icons notranslate" aria-hidden="true">{escape(icon)}</i>'
            f"<span>{escape(name)}</span></a>"
        )
    brand = f'<a class="brand" href="{MOUNT}/fleet">edgeloop</a>'
    return f"""{_THEME}
<a class="skip" href="#page">Skip to the page</a>
<nav id="navigation" class="navigation" aria-label="Main">
  {brand}{"".join(links)}
  <div class="navigation-foot">
    <span>Signed in as {escape(person)}</span>
    <button type="button" class="action small" onclick="toggleTheme()">Light or dark</button>
    <form method="post" action="/sign-out"><button type="submit" class="action small">Sign out</button></form>
  </div>
</nav>
<header class="topbar">
  <button type="button" class="action small" aria-expanded="false" aria-controls="navigation"
    onclick="toggleNavigation(this)">Menu</button>
  {brand}
</header>
{_FIRST}"""


def is_current(path: str, place: str) -> bool:
    """Whether the page at ``path`` belongs to the entry at ``place``."""
    own = path.removeprefix(f"{MOUNT}/").strip("/")
    if place == "apps":
        return own == place
    if place == "fleet" and own.startswith("nodes/"):
        return True
    return own == place or own.startswith(f"{place}/")
