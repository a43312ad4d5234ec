{{/* What a schema cannot say: values that contradict each other. */}}
{{- define "tandem.check" -}}
{{- if not (or .Values.cloud.enabled .Values.edge.enabled) -}}
{{- fail "cloud.enabled and edge.enabled are both false: nothing is left to run" -}}
{{- end -}}
{{- if and .Values.edge.enabled (not .Values.cloud.enabled) (not .Values.edge.cloud) -}}
{{- fail "edge.cloud is empty, and this release has no cloud-service" -}}
{{- end -}}
{{- if .Values.cloud.enabled -}}
{{- include "tandem.checkCloud" .Values.cloud -}}
{{- include "tandem.checkTls" (dict "tls" .Values.cloud.tls "at" "cloud.tls") -}}
{{- include "tandem.checkModel" (dict "root" . "values" .Values.cloud "at" "cloud") -}}
{{- end -}}
{{- if .Values.edge.enabled -}}
{{- if and .Values.edge.hostPort (ne .Values.edge.kind "DaemonSet") -}}
{{- /* A second pod on the node, as in an upgrade, would wait for the port for ever. */ -}}
{{- fail "edge.hostPort needs edge.kind DaemonSet" -}}
{{- end -}}
{{- if and .Values.edge.openai.enabled (eq (int .Values.edge.openai.port) (int .Values.edge.service.port)) -}}
{{- fail "edge.openai.port and edge.service.port are the same" -}}
{{- end -}}
{{- if .Values.edge.openai.ingress.enabled -}}
{{- if not .Values.edge.openai.enabled -}}
{{- fail "edge.openai.ingress is for edge.openai, which is not enabled" -}}
{{- end -}}
{{- if not .Values.edge.openai.ingress.hosts -}}
{{- fail "edge.openai.ingress.hosts is empty" -}}
{{- end -}}
{{- end -}}
{{- include "tandem.checkModel" (dict "root" . "values" .Values.edge "at" "edge") -}}
{{- include "tandem.checkTls" (dict "tls" .Values.edge.tls "at" "edge.tls") -}}
{{- include "tandem.checkCertificate" (dict "tls" .Values.edge.cloudTls "at" "edge.cloudTls") -}}
{{- include "tandem.checkCloudLink" . -}}
{{- end -}}
{{- end }}

{{- define "tandem.checkCertificate" -}}
{{- if and .tls.existingSecret .tls.certManager.enabled -}}
{{- fail (printf "%s.existingSecret and %s.certManager.enabled: one of them" .at .at) -}}
{{- end -}}
{{- if and .tls.certManager.enabled (not .tls.certManager.issuerRef.name) -}}
{{- fail (printf "%s.certManager.issuerRef.name is empty" .at) -}}
{{- end -}}
{{- end }}

{{- define "tandem.checkTls" -}}
{{- include "tandem.checkCertificate" . -}}
{{- $at := .at -}}
{{- $kept := .tls.certManager.enabled -}}
{{- range $key := list "clientCaSecret" "serverName" "publicAuthority" -}}
{{- if and (get $.tls $key) (not (or $.tls.existingSecret $kept)) -}}
{{- fail (printf "%s.%s needs a certificate: %s.existingSecret or %s.certManager" $at $key $at $at) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "clientCrl" "clientNames" -}}
{{- if and (get $.tls $key) (not $.tls.clientCaSecret) -}}
{{- fail (printf "%s.%s is about certificates that %s.clientCaSecret has signed, which is empty" $at $key $at) -}}
{{- end -}}
{{- end -}}
{{- if and $kept .tls.publicAuthority (not (and .tls.serverName (has .tls.serverName .tls.certManager.dnsNames))) -}}
{{- fail (printf "%s.publicAuthority: %s.serverName must be one of %s.certManager.dnsNames" .at .at .at) -}}
{{- end -}}
{{- end }}

{{/* What the cloud asks of its edges, where this release has both, and what they show it. */}}
{{- define "tandem.checkCloudLink" -}}
{{- $tls := .Values.edge.cloudTls -}}
{{- $shows := or $tls.existingSecret $tls.certManager.enabled -}}
{{- if and (or $shows $tls.caSecret $tls.serverName) (not (hasPrefix "https://" (include "tandem.cloudUrl" .))) -}}
{{- fail "edge.cloudTls is set, and the cloud is reached without TLS: see edge.cloud and cloud.tls" -}}
{{- end -}}
{{- if and .Values.cloud.enabled (not .Values.edge.cloud) -}}
{{- if and .Values.cloud.tls.clientCaSecret (not $shows) -}}
{{- fail "cloud.tls.clientCaSecret asks edges for a certificate, and edge.cloudTls has none" -}}
{{- end -}}
{{- if and .Values.cloud.auth.existingSecret (not .Values.edge.cloudToken.existingSecret) -}}
{{- fail "cloud.auth asks edges for a token, and edge.cloudToken.existingSecret is empty" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tandem.checkModel" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- $given := dict "claim" $model.claim.name "image" $model.image.reference "hostPath" $model.hostPath
  "download" $model.download.files "hub" $model.hub.id -}}
{{- if not (get $given $model.source) -}}
{{- fail (printf "the %s's model.source is %s, whose %s is empty" .at $model.source
  (get (dict "claim" "claim.name" "image" "image.reference" "hostPath" "hostPath" "download" "download.files" "hub" "hub.id") $model.source)) -}}
{{- end -}}
{{- if and $model.file (eq $model.source "hub") -}}
{{- fail (printf "the %s's model.file is %s, and of the hub only whole models are fetched: see model.source download" .at $model.file) -}}
{{- end -}}
{{- if and $model.file (eq $model.source "download") -}}
{{- $paths := list -}}
{{- range $model.download.files -}}
{{- $paths = append $paths .path -}}
{{- end -}}
{{- if not (has $model.file $paths) -}}
{{- fail (printf "the %s's model.file is %s, which is none of model.download.files" .at $model.file) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tandem.checkCloud" -}}
{{- $device := .config.device | default (ternary "cuda" "cpu" (gt (int .gpu.count) 0)) -}}
{{- if and (hasPrefix "cuda" $device) (eq (int .gpu.count) 0) -}}
{{- fail (printf "cloud.config.device is %s, and cloud.gpu.count is 0" $device) -}}
{{- end -}}
{{- if and (eq $device "cpu") (gt (int .gpu.count) 0) -}}
{{- fail "cloud.config.device is cpu, and cloud.gpu.count is above 0" -}}
{{- end -}}
{{- if .autoscaling.enabled -}}
{{- if not (or .autoscaling.cpuPercent .autoscaling.sessions) -}}
{{- fail "cloud.autoscaling has neither cpuPercent nor sessions" -}}
{{- end -}}
{{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) -}}
{{- fail "cloud.autoscaling.minReplicas is above maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- /* On a GPU keys and values are in its memory, not in the container's. */ -}}
{{- if eq $device "cpu" -}}
{{- $kv := (.config.sessions | default dict).kv_memory | default "4GiB" -}}
{{- $limit := .resources.limits.memory -}}
{{- $needed := add (include "tandem.bytes" $kv | int64) 209715200 -}}
{{- if gt $needed (include "tandem.bytes" $limit | int64) -}}
{{- fail (printf "cloud.config.sessions.kv_memory is %s, which with 200 MiB for libtorch does not fit into cloud.resources.limits.memory, %s" $kv $limit) -}}
{{- end -}}
{{- end -}}
{{- end }}
