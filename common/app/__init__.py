"""The app contract, by side: `spec` names the parts, `edge`, `cloud` and `training` say what each part is."""
