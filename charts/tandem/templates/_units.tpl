{{/* Tandem's duration in whole seconds, rounded up: 30s, 5m, 500ms. */}}
{{- define "tandem.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if has $unit (list "us" "ms") -}}
{{- divf $number (ternary 1000 1000000 (eq $unit "ms")) | ceil | int64 -}}
{{- else -}}
{{- mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit) -}}
{{- end -}}
{{- end }}

{{/* Bytes of a size as Tandem (4GiB, 10MB) or Kubernetes (4Gi, 10M) writes it. */}}
{{- define "tandem.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexFind "[a-zA-Z]*$" $text | trimSuffix "B" -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf $number (get $factors $unit | default 1) | floor | int64 -}}
{{- end }}
