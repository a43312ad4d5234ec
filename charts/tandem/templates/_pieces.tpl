{{/* Objects that both servers have in the same form. Each takes root, component, values, name. */}}

{{- define "tandem.configMaps" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- include "tandem.config" . | nindent 4 }}
{{- if eq $model.source "download" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}-fetch
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
data:
  fetch-model.sh: |
    {{- .root.Files.Get "files/fetch-model.sh" | nindent 4 }}
  # SHA-256, path, address
  files: |
    {{- range $model.download.files }}
    {{ .sha256 }} {{ .path }} {{ .url }}
    {{- end }}
{{- end }}
{{- end }}

{{- define "tandem.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{/* The data port, for whoever wants one address. */}}
{{- define "tandem.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
  {{- with .values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- $secrets := include "tandem.secrets" . | fromYaml }}
spec:
  type: {{ .values.service.type }}
  {{- if and (eq .values.service.type "LoadBalancer") .values.service.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml .values.service.loadBalancerSourceRanges | nindent 4 }}
  {{- end }}
  {{- if ne .values.service.type "ClusterIP" }}
  externalTrafficPolicy: {{ .values.service.externalTrafficPolicy }}
  {{- end }}
  {{- with .values.service.internalTrafficPolicy }}
  internalTrafficPolicy: {{ . }}
  {{- end }}
  selector:
    {{- include "tandem.selector" . | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .values.service.port }}
      targetPort: grpc
      appProtocol: {{ include "tandem.grpcProtocol" $secrets }}
      {{- if and .values.service.nodePort (ne .values.service.type "ClusterIP") }}
      nodePort: {{ .values.service.nodePort }}
      {{- end }}
    {{- if dig "openai" "enabled" false .values }}
    - name: openai
      port: {{ .values.openai.port }}
      targetPort: openai
      appProtocol: {{ include "tandem.scheme" $secrets }}
    {{- end }}
{{- end }}

{{/* The admin port of each pod, those that load or drain too, for Prometheus; never outside the cluster. */}}
{{- define "tandem.adminService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-admin
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
    tandem/port: admin
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "tandem.selector" . | nindent 4 }}
  ports:
    - name: admin
      port: {{ (include "tandem.ports" . | fromYaml).admin }}
      targetPort: admin
{{- end }}

{{- define "tandem.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that does not serve protects nobody's session, and must not hold up a node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "tandem.selector" . | nindent 6 }}
{{- end }}

{{/* Who may reach the admin port. */}}
{{- define "tandem.adminIngress" -}}
- ports:
    - protocol: TCP
      port: {{ (include "tandem.ports" . | fromYaml).admin }}
  from:
    {{- with .root.Values.networkPolicy.monitoring }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- range .root.Values.networkPolicy.kubelet }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
    - podSelector:
        matchLabels:
          {{- include "tandem.selector" (dict "root" .root "component" "test") | nindent 10 }}
{{- end }}

{{/* Where both may go: to name servers, and to where the model is fetched from. */}}
{{- define "tandem.commonEgress" -}}
{{- $model := include "tandem.model" . | fromYaml -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- if eq $model.source "download" }}
- ports:
    - {protocol: TCP, port: {{ $model.download.port }}}
{{- else if eq $model.source "hub" }}
- ports:
    - {protocol: TCP, port: {{ include "tandem.hubPort" . }}}
{{- end }}
{{- with dig "traces" "endpoint" "" .values.config }}
- ports:
    - {protocol: TCP, port: {{ regexFind "[0-9]+$" (trimSuffix "/" .) }}}
{{- end }}
{{- end }}
