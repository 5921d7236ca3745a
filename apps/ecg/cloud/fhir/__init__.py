"""The ECG app in FHIR R4: what it knows as resources, an API to read them, and their way to the hospital.

Resources are made from the tables when they are asked for; their ids are stable and tell where they come from
(`apps.ecg.cloud.fhir.ids`). They are built with the R4B classes of `fhir.resources`, whose Patient, Device,
Observation, DiagnosticReport, Provenance, Bundle, CapabilityStatement and OperationOutcome are those of R4
(4.0.1); `fhir.resources` 8 has no classes of 4.0.1 itself. A reference application, not a medical device.
"""
