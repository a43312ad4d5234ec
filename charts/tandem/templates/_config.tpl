{{/* The server's configuration file. Takes root, component, values. */}}
{{- define "tandem.config" -}}
{{- $ports := include "tandem.ports" . | fromYaml -}}
{{- $address := .root.Values.bindAddress -}}
{{- $set := dict "listen" (printf "%s:%v" $address $ports.grpc)
  "metrics_listen" (printf "%s:%v" $address $ports.admin)
  "model" (include "tandem.modelReference" .) "name" (include "tandem.modelName" .) -}}
{{- $_ := merge $set (include "tandem.secretsConfig" . | fromYaml) -}}
{{- if eq .component "edge-agent" -}}
{{- $_ := set $set "cloud" (include "tandem.cloudUrl" .root) -}}
{{- if .values.openai.enabled -}}
{{- $name := printf "%s-edge" (include "tandem.fullname" .root) -}}
{{- $place := printf "%s.%s" $name .root.Release.Namespace -}}
{{- $hosts := list $name $place (printf "%s.svc" $place) (printf "%s.svc.cluster.local" $place) -}}
{{- $_ := set $set "openai" (dict "listen" (printf "%s:%v" $address $ports.openai)
  "timeout" .values.openai.timeout
  "hosts" (concat $hosts .values.openai.hosts (ternary .values.openai.ingress.hosts list .values.openai.ingress.enabled)) "origins" .values.openai.origins
  "aliases" .values.openai.aliases "any_model" .values.openai.anyModel
  "unknown_fields" .values.openai.unknownFields "page" .values.openai.page) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .component "cloud-service") (gt (int .values.gpu.count) 0) (not .values.config.device) -}}
{{- $_ := set $set "device" "cuda" -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .values.config) $set | toYaml -}}
{{- end }}

{{/* Ports within the pods: those of the shipped configuration. */}}
{{- define "tandem.ports" -}}
{{- if eq .component "cloud-service" -}}
grpc: 50051
admin: 9501
{{- else -}}
grpc: 50050
admin: 9500
openai: 8000
{{- end -}}
{{- end }}

{{/* The headless Service, which leads to all ready pods: an edge balances its sessions over them itself, and answers whose
     pod is lost or leaves go on in another. */}}
{{- define "tandem.cloudUrl" -}}
{{- if .Values.edge.cloud -}}
{{- .Values.edge.cloud -}}
{{- else -}}
{{- $scheme := ternary "https" "http" (eq (include "tandem.ownCloudTls" .) "true") -}}
{{- $port := (include "tandem.ports" (dict "component" "cloud-service") | fromYaml).grpc -}}
{{- printf "%s://%s-cloud-headless:%v" $scheme (include "tandem.fullname" .) $port -}}
{{- end -}}
{{- end }}

{{/* Time for a drain: the endpoint's removal, the drain, what follows it. */}}
{{- define "tandem.gracePeriod" -}}
{{- $drain := include "tandem.seconds" (.values.config.drain_deadline | default "30s") | int -}}
{{- add (int .values.preStopSeconds) $drain 10 -}}
{{- end }}
