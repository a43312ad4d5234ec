{{/* The model of a component: its own, or the common one. */}}
{{- define "tandem.model" -}}
{{- if .values.model -}}
{{- mergeOverwrite (deepCopy .root.Values.model) .values.model | toYaml -}}
{{- else -}}
{{- toYaml .root.Values.model -}}
{{- end -}}
{{- end }}

{{- define "tandem.modelVolume" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
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

{{/* Only what this pod fetched for itself is writable: the server keeps the weights' fingerprint there,
     so that a restarted container need not compute it again. */}}
{{- define "tandem.modelMount" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
- name: model
  mountPath: /models/{{ $model.name }}
{{- if and (eq $model.source "claim") $model.claim.subPath }}
  subPath: {{ $model.claim.subPath }}
{{- end }}
  readOnly: {{ ne $model.source "download" }}
{{- end }}

{{- define "tandem.fetchModel" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
- name: fetch-model
  image: {{ $model.download.image }}
  command: [sh, /fetch/fetch-model.sh]
  args: [/fetch/files, /models/{{ $model.name }}]
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
      mountPath: /models/{{ $model.name }}
    - name: fetch
      mountPath: /fetch
      readOnly: true
    {{- if $model.download.headerSecret.name }}
    - name: header
      mountPath: /header
      readOnly: true
    {{- end }}
{{- end }}
