"""Panel of a show in a browser: the narrator beside the cloud's own dashboard."""
