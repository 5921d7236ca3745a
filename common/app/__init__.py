"""The app contract, by side: `spec` names the parts; `edge`, `cloud` and `training` define each part."""
