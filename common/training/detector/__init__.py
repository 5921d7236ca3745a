"""Training of the detector that the camera apps share: from labelled images to a bundle with its variants.

::

    dataset        images with boxes in YOLO layout: splits, digests, frames with exact truth
    teachers       labels of two teachers where they agree
    evaluation     mAP by the COCO protocol, with bootstrap intervals
    fine_tuning    Ultralytics' trainer (extra ``train-vision``)
    export         weights to an ONNX graph that takes frames as they come from a camera
    quantization   INT8 with an accuracy gate (extra ``train-vision``)
    last_layers    fine-tuning of the class branch in NumPy, without torch
    summary        outputs for golden cases, trials and drift
    bundle         manifest, golden cases, lineage
    pipeline       all of it, from start weights to a sealed bundle
    refit          a bundle fitted to new frames in minutes
    measure        figures of a bundle beside other detectors (command)
"""
