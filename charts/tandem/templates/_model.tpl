{{/* The model of a component: its own, or the common one. */}}
{{- define "tandem.model" -}}
{{- if .values.model -}}
{{- mergeOverwrite (deepCopy .root.Values.model) .values.model | toYaml -}}
{{- else -}}
{{- toYaml .root.Values.model -}}
{{- end -}}
{{- end }}

{{/* What clients see as its name, and its place under /models. */}}
{{- define "tandem.modelName" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if $model.name -}}
{{- $model.name -}}
{{- else if eq $model.source "hub" -}}
{{- base $model.hub.id -}}
{{- else if $model.file -}}
{{- base $model.file | trimSuffix ".gguf" -}}
{{- else -}}
smollm2-135m-instruct
{{- end -}}
{{- end }}

{{/* What the server is given as its model: a hub id, a file or a directory. */}}
{{- define "tandem.modelReference" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if eq $model.source "hub" -}}
{{- $model.hub.id }}{{ with $model.hub.revision }}@{{ . }}{{ end -}}
{{- else -}}
/models/{{ include "tandem.modelName" . }}{{ with $model.file }}/{{ . }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Where the model's directory comes from. A hub's has none: the server fetches into its cache. */}}
{{- define "tandem.modelVolume" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if ne $model.source "hub" }}
- name: model
{{- if eq $model.source "claim" }}
  persistentVolumeClaim:
    claimName: {{ $model.claim.name }}
    readOnly: true
{{- else if eq $model.source "image" }}
  image:
    reference: {{ $model.image.reference }}
    pullPolicy: {{ $model.image.pullPolicy }}
{{- else if eq $model.source "hostPath" }}
  hostPath:
    path: {{ $model.hostPath }}
    type: Directory
{{- else if $model.download.claim }}
  persistentVolumeClaim:
    claimName: {{ $model.download.claim }}
{{- else }}
  emptyDir:
    sizeLimit: {{ $model.download.sizeLimit }}
{{- end }}
{{- end }}
{{- with include "tandem.modelCache" . | fromYaml }}
- name: cache
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .sizeLimit }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The volume for what the server itself fetches or imports, as claim and sizeLimit; nothing where it does
     neither, or imports beside a file that was fetched. */}}
{{- define "tandem.modelCache" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if eq $model.source "hub" -}}
{{- pick $model.hub "claim" "sizeLimit" | toYaml -}}
{{- else if and $model.file (ne $model.source "download") -}}
{{- $model.import | toYaml -}}
{{- end -}}
{{- end }}

{{/* The variables that the chart sets, without those that the values set themselves. */}}
{{- define "tandem.modelVariables" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- $set := list -}}
{{- if eq $model.source "hub" -}}
{{- $set = append $set (dict "name" "HF_HOME" "value" "/cache") -}}
{{- with $model.hub.endpoint -}}
{{- $set = append $set (dict "name" "HF_ENDPOINT" "value" .) -}}
{{- end -}}
{{- with $model.hub.tokenSecret -}}
{{- if .name -}}
{{- $token := dict "secretKeyRef" (dict "name" .name "key" .key) -}}
{{- $set = append $set (dict "name" "HF_TOKEN" "valueFrom" $token) -}}
{{- end -}}
{{- end -}}
{{- else if include "tandem.modelCache" . -}}
{{- $set = append $set (dict "name" "XDG_CACHE_HOME" "value" "/cache") -}}
{{- end -}}
{{- $own := list -}}
{{- range .values.env -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- range $set -}}
{{- if not (has .name $own) }}
- {{ toYaml . | nindent 2 | trim }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The port of the hub, or of what stands before it. */}}
{{- define "tandem.hubPort" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if $model.hub.port -}}
{{- int $model.hub.port -}}
{{- else -}}
{{- $host := regexFind "//[^/]*" $model.hub.endpoint -}}
{{- $scheme := ternary "80" "443" (hasPrefix "http://" $model.hub.endpoint) -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default $scheme -}}
{{- end -}}
{{- end }}

{{/* Seconds from a pod's start to a loaded model. */}}
{{- define "tandem.startupSeconds" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- $fetch := ternary $model.hub.fetchSeconds 0 (eq $model.source "hub") -}}
{{- add (int .values.startupSeconds) (int $fetch) -}}
{{- end }}

{{/* Only what this pod fetched for itself is writable: the server keeps the weights' fingerprint there,
     so that a restarted container need not compute it again, and imports a GGUF file beside it. */}}
{{- define "tandem.modelMount" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- if ne $model.source "hub" }}
- name: model
  mountPath: /models/{{ include "tandem.modelName" . }}
{{- if and (eq $model.source "claim") $model.claim.subPath }}
  subPath: {{ $model.claim.subPath }}
{{- end }}
  readOnly: {{ ne $model.source "download" }}
{{- end }}
{{- if include "tandem.modelCache" . }}
- name: cache
  mountPath: /cache
{{- end }}
{{- end }}

{{- define "tandem.fetchModel" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
- name: fetch-model
  image: {{ $model.download.image }}
  command: [sh, /fetch/fetch-model.sh]
  args: [/fetch/files, /models/{{ include "tandem.modelName" . }}]
  {{- if $model.download.headerSecret.name }}
  env:
    - name: HEADER_FILE
      value: /header/{{ $model.download.headerSecret.key }}
  {{- end }}
  securityContext:
    {{- include "tandem.securityContext" . | nindent 4 }}
  resources:
    {{- toYaml $model.download.resources | nindent 4 }}
  volumeMounts:
    - name: model
      mountPath: /models/{{ include "tandem.modelName" . }}
    - name: fetch
      mountPath: /fetch
      readOnly: true
    {{- if $model.download.headerSecret.name }}
    - name: header
      mountPath: /header
      readOnly: true
    {{- end }}
{{- end }}
