"""Tools for the author of an app: `new_app` makes an app, `check` holds it to its contract."""
