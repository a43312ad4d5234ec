{{/* TLS and tokens: which Secrets a pod mounts, and what its configuration says of them. */}}

{{/* The Secret with a certificate and its key: one that is there, or the one that cert-manager keeps.
     Takes at (tls or cloudTls with existingSecret and certManager) and name. Empty: none. */}}
{{- define "tandem.certificateSecret" -}}
{{- if .at.certManager.enabled -}}{{ .name }}{{- else -}}{{ .at.existingSecret }}{{- end -}}
{{- end }}

{{/* The Secrets of either server, as YAML: serverSecret, clientCa, tokens, and of an edge cloudCa, cloudSecret,
     cloudToken, cloudServerName. Takes root, component, values. */}}
{{- define "tandem.secrets" -}}
{{- $name := include "tandem.fullname" .root -}}
{{- $cloud := .root.Values.cloud -}}
{{- $short := ternary "cloud" "edge" (eq .component "cloud-service") -}}
{{- $server := dict "at" .values.tls "name" (printf "%s-%s-tls" $name $short) -}}
serverSecret: {{ include "tandem.certificateSecret" $server | quote }}
clientCa: {{ .values.tls.clientCaSecret | quote }}
tokens: {{ .values.auth.existingSecret | quote }}
{{- if eq .component "edge-agent" }}
{{- $own := include "tandem.ownCloudTls" .root | eq "true" }}
{{- $clouds := dict "at" $cloud.tls "name" (printf "%s-cloud-tls" $name) }}
{{- $client := dict "at" .values.cloudTls "name" (printf "%s-edge-client" $name) }}
cloudTls: {{ hasPrefix "https://" (include "tandem.cloudUrl" .root) }}
{{- if .values.cloudTls.caSecret }}
cloudCa: {{ .values.cloudTls.caSecret | quote }}
{{- else if and $own (not $cloud.tls.publicAuthority) }}
cloudCa: {{ include "tandem.certificateSecret" $clouds | quote }}
{{- else }}
cloudCa: ""
{{- end }}
cloudServerName: {{ .values.cloudTls.serverName | default (ternary ($cloud.tls.serverName | default (printf "%s-cloud" $name)) "" $own) | quote }}
cloudSecret: {{ include "tandem.certificateSecret" $client | quote }}
cloudToken: {{ .values.cloudToken.existingSecret | quote }}
{{- end }}
{{- end }}

{{/* https or http, by a server's Secrets. */}}
{{- define "tandem.scheme" -}}
{{- ternary "https" "http" (not (empty .serverSecret)) -}}
{{- end }}

{{/* What meshes and load balancers are told of a gRPC port. */}}
{{- define "tandem.grpcProtocol" -}}
{{- ternary "https" "kubernetes.io/h2c" (not (empty .serverSecret)) -}}
{{- end }}

{{/* Whether the release's edges reach a cloud of the release, and by TLS. */}}
{{- define "tandem.ownCloudTls" -}}
{{- $tls := .Values.cloud.tls -}}
{{- and .Values.cloud.enabled (not .Values.edge.cloud) (or $tls.certManager.enabled (ne $tls.existingSecret "")) -}}
{{- end }}

{{/* What the configuration says of them. */}}
{{- define "tandem.secretsConfig" -}}
{{- $secrets := include "tandem.secrets" . | fromYaml -}}
{{- $at := "/run/tandem" -}}
{{- $open := not $secrets.serverSecret -}}
{{- $set := dict -}}
{{- if $secrets.serverSecret -}}
{{- $tls := dict "certificate" (printf "%s/tls/tls.crt" $at) "key" (printf "%s/tls/tls.key" $at) -}}
{{- if $secrets.clientCa -}}
{{- $_ := set $tls "client_ca" (printf "%s/client-ca/ca.crt" $at) -}}
{{- with .values.tls.clientNames -}}
{{- $_ := set $tls "client_names" . -}}
{{- end -}}
{{- if .values.tls.clientCrl -}}
{{- $_ := set $tls "client_crl" (printf "%s/client-ca/ca.crl" $at) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $set "tls" $tls -}}
{{- end -}}
{{- if $secrets.tokens -}}
{{- $_ := set $set "auth" (dict "tokens" (printf "%s/tokens/tokens" $at)) -}}
{{- end -}}
{{- if eq .component "edge-agent" -}}
{{- $cloud := dict -}}
{{- if $secrets.cloudCa -}}
{{- $_ := set $cloud "ca" (printf "%s/cloud-ca/ca.crt" $at) -}}
{{- end -}}
{{- if $secrets.cloudSecret -}}
{{- $_ := set $cloud "certificate" (printf "%s/cloud-tls/tls.crt" $at) -}}
{{- $_ := set $cloud "key" (printf "%s/cloud-tls/tls.key" $at) -}}
{{- end -}}
{{- if $secrets.cloudServerName -}}
{{- $_ := set $cloud "server_name" $secrets.cloudServerName -}}
{{- end -}}
{{- if $cloud -}}
{{- $_ := set $set "cloud_tls" $cloud -}}
{{- end -}}
{{- if $secrets.cloudToken -}}
{{- $_ := set $set "cloud_token" (printf "%s/cloud-token/token" $at) -}}
{{- $open = or $open (not $secrets.cloudTls) -}}
{{- end -}}
{{- end -}}
{{- if and $open (not .root.Values.insecure) -}}
{{- $short := ternary "cloud" "edge" (eq .component "cloud-service") -}}
{{- $why := ternary "the pods would listen without TLS" "the cloud would be shown a token without TLS" (empty $secrets.serverSecret) -}}
{{- fail (printf "%s: %s. Set %s, or insecure: true for a trial or a network that you trust" $short $why (ternary (printf "%s.tls.existingSecret or %s.tls.certManager" $short $short) "edge.cloud to https://…, or cloud.tls" (empty $secrets.serverSecret))) -}}
{{- end -}}
{{- $_ := set $set "insecure" $open -}}
{{- toYaml $set -}}
{{- end }}

{{/* Folders under /run/tandem, the Secrets they show, and of which keys. Not by subPath: Secrets that change
     are read again. */}}
{{- define "tandem.secretFolders" -}}
{{- $secrets := include "tandem.secrets" . | fromYaml -}}
{{- with $secrets.serverSecret }}
- {folder: tls, secret: {{ quote . }}, keys: [tls.crt, tls.key]}
{{- end }}
{{- with $secrets.clientCa }}
- {folder: client-ca, secret: {{ quote . }}, keys: [ca.crt{{ if $.values.tls.clientCrl }}, ca.crl{{ end }}]}
{{- end }}
{{- with $secrets.tokens }}
- {folder: tokens, secret: {{ quote . }}, keys: [tokens]}
{{- end }}
{{- with $secrets.cloudCa }}
- {folder: cloud-ca, secret: {{ quote . }}, keys: [ca.crt]}
{{- end }}
{{- with $secrets.cloudSecret }}
- {folder: cloud-tls, secret: {{ quote . }}, keys: [tls.crt, tls.key]}
{{- end }}
{{- with $secrets.cloudToken }}
- {folder: cloud-token, secret: {{ quote . }}, keys: [token]}
{{- end }}
{{- end }}

{{/* Takes the folders' list. */}}
{{- define "tandem.secretMounts" -}}
{{- range . }}
- name: {{ .folder }}
  mountPath: /run/tandem/{{ .folder }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "tandem.secretVolumes" -}}
{{- range . }}
- name: {{ .folder }}
  secret:
    secretName: {{ quote .secret }}
    # The pod's group reads them.
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}
{{- end }}

{{/* A certificate that cert-manager keeps. Takes root, component, name, at, usage, dnsNames. */}}
{{- define "tandem.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .name }}
  labels:
    {{- include "tandem.labels" . | nindent 4 }}
spec:
  secretName: {{ .name }}
  issuerRef:
    {{- toYaml .at.certManager.issuerRef | nindent 4 }}
  # The first name.
  commonName: {{ first .dnsNames | quote }}
  dnsNames:
    {{- toYaml .dnsNames | nindent 4 }}
  usages: [{{ .usage }}]
  duration: {{ .at.certManager.duration }}
  renewBefore: {{ .at.certManager.renewBefore }}
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
{{- end }}

{{/* Of a server's port. Takes root, component, values, name (its Service's). A public authority signs no names
     of a cluster. */}}
{{- define "tandem.serverCertificate" -}}
{{- $tls := .values.tls -}}
{{- $place := .root.Release.Namespace -}}
{{- $names := list -}}
{{- if not $tls.publicAuthority -}}
{{- $names = list .name (printf "%s.%s" .name $place) (printf "%s.%s.svc" .name $place) -}}
{{- if eq .component "cloud-service" -}}
{{- $names = append $names (printf "%s-headless.%s.svc" .name $place) -}}
{{- end -}}
{{- end -}}
{{- $names = concat $names $tls.certManager.dnsNames -}}
{{- $it := dict "root" .root "component" .component "at" $tls "usage" "server auth" -}}
{{- include "tandem.certificate" (merge (dict "name" (printf "%s-tls" .name) "dnsNames" $names) $it) -}}
{{- end }}

{{/* What `edge-agent ask` must be told. Takes root and edge (its Secrets). */}}
{{- define "tandem.askFlags" -}}
{{- $tls := .root.Values.edge.tls -}}
{{- if .edge.serverSecret -}}
{{- $name := $tls.serverName | default (printf "%s-edge" (include "tandem.fullname" .root)) -}}
{{- printf "--edge https://localhost:50050 --server-name %s " $name -}}
{{- if not $tls.publicAuthority }}--ca ca.crt {{ end -}}
{{- end -}}
{{- if .edge.clientCa }}--certificate tls.crt --key tls.key {{ end -}}
{{- if .edge.tokens }}--token-file token {{ end -}}
{{- end }}
