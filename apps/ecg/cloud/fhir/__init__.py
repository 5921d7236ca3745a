"""FHIR R4 of the ECG app: resources, a read and search API, and the export to a hospital's server.

Resources are made from the tables on request; their ids are stable and encode their origin
(`apps.ecg.cloud.fhir.ids`). They are built with the R4B classes of `fhir.resources`, whose Patient, Device,
Observation, DiagnosticReport, Provenance, Bundle, CapabilityStatement and OperationOutcome are those of R4
(4.0.1); `fhir.resources` 8 has no classes of 4.0.1 itself. A reference application, not a medical device.
"""
