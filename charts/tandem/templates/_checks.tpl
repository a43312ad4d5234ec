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
{{- include "tandem.checkModel" (dict "root" . "values" .Values.edge "at" "edge") -}}
{{- end -}}
{{- end }}

{{- define "tandem.checkModel" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- $given := dict "claim" $model.claim.name "image" $model.image.reference "hostPath" $model.hostPath
  "download" $model.download.files -}}
{{- if not (get $given $model.source) -}}
{{- fail (printf "the %s's model.source is %s, whose %s is empty" .at $model.source
  (get (dict "claim" "claim.name" "image" "image.reference" "hostPath" "hostPath" "download" "download.files") $model.source)) -}}
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
