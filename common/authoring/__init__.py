"""What the author of an app needs: `new_app` makes an app, `check` holds it to its contract."""
