{{- /* What a schema cannot say. Each message names what to change. */}}

{{- define "reconciler.checkSecrets" -}}
{{- $given := .Values.secrets.values -}}
{{- if .Values.secrets.existingSecret -}}
{{- if $given -}}
{{- fail "secrets: give either existingSecret or values, not both" -}}
{{- end -}}
{{- else -}}
{{- $wanted := include "reconciler.secretKeys" . | fromJsonArray -}}
{{- if not (or .Values.cnpg.enabled .Values.database.secretName) -}}
{{- $wanted = append $wanted .Values.database.urlKey -}}
{{- with .Values.database.migrateUrlKey -}}
{{- $wanted = append $wanted . -}}
{{- end -}}
{{- end -}}
{{- range $wanted -}}
{{- if not (hasKey $given .) -}}
{{- fail (printf "secrets: %q is needed and not in secrets.values; add it there, or name a Secret that has it in secrets.existingSecret" .) -}}
{{- end -}}
{{- end -}}
{{- with get $given "fingerprint-key" -}}
{{- if lt (len .) 32 -}}
{{- fail "secrets.values.fingerprint-key has less than 32 bytes; make one with `openssl rand -hex 32`" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "reconciler.checkConfig" -}}
{{- $known := list -}}
{{- range .Values.config.shops -}}
{{- if has .id $known -}}
{{- fail (printf "config.shops: %s stands there twice" .id) -}}
{{- end -}}
{{- $known = append $known .id -}}
{{- end -}}
{{- range $list := list "clients" "subscribers" -}}
{{- range $entry := get $.Values.config $list -}}
{{- range $entry.shops -}}
{{- if not (or (eq . "*") (has . $known)) -}}
{{- fail (printf "config.%s: %s names shop %s, which is not in config.shops" $list $entry.name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $url := urlParse .Values.config.webhooks.public_url -}}
{{- if not (has $url.path (list "" "/")) -}}
{{- fail (printf "ingress: config.webhooks.public_url has the path %s, which would have to be cut off again; use a host of its own, or an Ingress of your own" $url.path) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The most connections that all pods together open. */}}
{{- define "reconciler.connections" -}}
{{- $pods := 0 -}}
{{- range $name, $_ := include "reconciler.deployments" . | fromJson -}}
{{- $role := get $.Values.roles $name -}}
{{- /* One more while a rollout has its new pod beside the old ones. */}}
{{- $most := $role.autoscaling.enabled | ternary $role.autoscaling.maxReplicas $role.replicas -}}
{{- $pods = add $pods 1 (int $most) -}}
{{- end -}}
{{- mul $pods (int (.Values.config.database.max_connections | default 16)) -}}
{{- end }}

{{- define "reconciler.checkConnections" -}}
{{- with .Values.cnpg.parameters.max_connections -}}
{{- $most := int (include "reconciler.connections" $) -}}
{{- /* The operator, replicas and a person with psql need some too. */}}
{{- if gt (add $most 20) (int .) -}}
{{- fail (printf "cnpg.parameters.max_connections is %s, but all pods together open up to %d, and 20 should stay free: raise it, or lower config.database.max_connections or replicas" . $most) -}}
{{- end -}}
{{- end -}}
{{- end }}
