"""Parts that pages are composed of: dialogs, forms, charts, comparisons."""
