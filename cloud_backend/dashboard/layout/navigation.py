"""The part of the frame that is plain HTML: the rail, the bar of narrow screens, a first heading.

It stands in the page's own source, so a browser paints it before the scripts that bring the page itself have
run. It keeps working without them: links lead on, the menu opens, one can sign out.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MOUNT = "/ui"
RAIL = (
    ("fleet", "Fleet", "lan"),
    ("apps", "Apps", "apps"),
    ("alerts", "Alerts", "notifications"),
    ("models", "Models", "model_training"),
    ("learning", "Learning", "school"),
    ("rollouts", "Rollouts", "rocket_launch"),
    ("data", "Data", "storage"),
    ("settings", "Settings", "settings"),
)
"""Path, name and icon of each place in the rail; every app adds its own below them."""
THEME_COOKIE = "edgeloop-theme"
DRAWN_MARK = "edgeloop-page-drawn"
"""The mark in the browser's performance timeline at which the page itself stands in the frame."""
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
  function toggleRail(button) {{
    button.setAttribute("aria-expanded", document.body.classList.toggle("rail-open"));
  }}
</script>"""
"""The theme is set before anything is painted, as Quasar will set it once it runs."""
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
"""The page's heading until the page itself is there; it goes in the same frame in which that comes."""


def draw(rail: Sequence[tuple[str, str, str]], path: str, person: str) -> str:
    """The frame around the page at ``path`` for ``person``; ``rail`` has path, name, icon of each place."""
    entries: list[str] = []
    here = max((place for place, _, _ in rail if is_current(path, place)), key=len, default=None)
    for number, (place, name, icon) in enumerate(rail):
        if number == len(RAIL):
            entries.append('<div class="rail-head">Pages of the apps</div>')
        current = ' aria-current="page"' if place == here else ""
        entries.append(
            f'<a class="entry" href="{MOUNT}/{escape(place)}"{current}>'
            f'<i class="q-icon material-icons notranslate" aria-hidden="true">{escape(icon)}</i>'
            f"<span>{escape(name)}</span></a>"
        )
    brand = f'<a class="brand" href="{MOUNT}/fleet">edgeloop</a>'
    return f"""{_THEME}
<a class="skip" href="#page">Skip to the page</a>
<nav id="rail" class="rail" aria-label="Places">
  {brand}{"".join(entries)}
  <div class="rail-foot">
    <span>Signed in as {escape(person)}</span>
    <button type="button" class="action small" onclick="toggleTheme()">Light or dark</button>
    <form method="post" action="/sign-out"><button type="submit" class="action small">Sign out</button></form>
  </div>
</nav>
<header class="topbar">
  <button type="button" class="action small" aria-expanded="false" aria-controls="rail"
    onclick="toggleRail(this)">Menu</button>
  {brand}
</header>
{_FIRST}"""


def is_current(path: str, place: str) -> bool:
    """Whether the page at ``path`` belongs to ``place``."""
    own = path.removeprefix(f"{MOUNT}/").strip("/")
    if place == "apps":
        return own == place
    if place == "fleet" and own.startswith("nodes/"):
        return True
    return own == place or own.startswith(f"{place}/")
