{{/* The pod of either server. Takes root, component, values. */}}
{{- define "tandem.pod" -}}
{{- $ports := include "tandem.ports" . | fromYaml -}}
{{- $model := include "tandem.model" . | fromYaml -}}
{{- $secrets := include "tandem.secretFolders" . | fromYamlArray -}}
{{- $name := printf "%s-%s" (include "tandem.fullname" .root) (ternary "cloud" "edge" (eq .component "cloud-service")) -}}
metadata:
  labels:
    {{- mergeOverwrite (deepCopy .values.podLabels) (include "tandem.selector" . | fromYaml) | toYaml | nindent 4 }}
  annotations:
    {{- $checksums := dict "checksum/config" (include "tandem.config" . | sha256sum) }}
    {{- if eq $model.source "download" }}
    {{- $_ := set $checksums "checksum/model" (toJson $model.download.files | sha256sum) }}
    {{- end }}
    {{- mergeOverwrite (dict "kubectl.kubernetes.io/default-container" .component) .values.podAnnotations $checksums | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  # A Service's variables are nothing to the servers.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "tandem.gracePeriod" . }}
  securityContext:
    {{- toYaml .root.Values.podSecurityContext | nindent 4 }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .values.topologySpreadConstraints (ne (.values.kind | default "Deployment") "DaemonSet") }}
  topologySpreadConstraints:
    {{- range .values.topologySpreadConstraints }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "tandem.selector" $ | nindent 10 }}
      # Or the pods of the revision that goes would count.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  {{- if eq $model.source "download" }}
  initContainers:
    {{- include "tandem.fetchModel" . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "tandem.image" (dict "image" .values.image "root" .root) }}
      imagePullPolicy: {{ .values.image.pullPolicy }}
      args: [serve, --config, /etc/tandem/config.yaml]
      {{- $variables := include "tandem.modelVariables" . | fromYamlArray }}
      {{- with concat $variables .values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: {{ $ports.grpc }}
          {{- with .values.hostPort }}
          hostPort: {{ . }}
          {{- end }}
        - name: admin
          containerPort: {{ $ports.admin }}
        {{- if dig "openai" "enabled" false .values }}
        - name: openai
          containerPort: {{ $ports.openai }}
        {{- end }}
      {{- include "tandem.probes" (dict "port" $ports.admin "startupSeconds" (include "tandem.startupSeconds" . | int)) | nindent 6 }}
      {{- if and (gt (int .values.preStopSeconds) 0) (semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version) }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .values.preStopSeconds }}
      {{- end }}
      securityContext:
        {{- include "tandem.securityContext" . | nindent 8 }}
      resources:
        {{- include "tandem.resources" . | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/tandem
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- include "tandem.modelMount" . | nindent 8 }}
        {{- with $secrets }}
        {{- include "tandem.secretMounts" . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $name }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- include "tandem.modelVolume" . | nindent 4 }}
    {{- with $secrets }}
    {{- include "tandem.secretVolumes" . | nindent 4 }}
    {{- end }}
    {{- if eq $model.source "download" }}
    - name: fetch
      configMap:
        name: {{ $name }}-fetch
    {{- with $model.download.headerSecret.name }}
    - name: header
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* gRPC health says NOT_SERVING while the model loads, so nothing but the startup probe runs then. */}}
{{- define "tandem.probes" -}}
startupProbe:
  grpc:
    port: {{ .port }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: {{ divf .startupSeconds 5 | ceil | int }}
readinessProbe:
  grpc:
    port: {{ .port }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
# Slow to act: a restart costs every session its keys and values.
livenessProbe:
  grpc:
    port: {{ .port }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* The defaults' rollingUpdate stays in the values when another type is chosen. */}}
{{- define "tandem.strategy" -}}
{{- if eq .type "RollingUpdate" -}}
{{- toYaml . -}}
{{- else -}}
type: {{ .type }}
{{- end -}}
{{- end }}

{{- define "tandem.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tandem.resources" -}}
{{- $resources := deepCopy .values.resources -}}
{{- if and (eq .component "cloud-service") (gt (int .values.gpu.count) 0) -}}
{{- $_ := set $resources "limits" (merge (dict .values.gpu.resource .values.gpu.count) $resources.limits) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}
