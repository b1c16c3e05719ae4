{{- /*
config.toml. Helm reads numbers as floats and its toToml writes them so, which the service refuses;
hence a writer of our own.
*/}}

{{- /* One TOML value. */}}
{{- define "reconciler.toml" -}}
{{- if kindIs "string" . -}}
{{ toRawJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "reconciler.toml" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ $key }} = {{ include "reconciler.toml" (get $ $key) }}{{ end }} }
{{- else -}}
{{ int64 . }}
{{- end -}}
{{- end }}

{{- /* One table: every key of a dict that has a value. */}}
{{- define "reconciler.toml.table" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $ $key }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "reconciler.toml" $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The configuration with what the chart adds, secrets still as keys of the Secret. As JSON. */}}
{{- define "reconciler.settings" -}}
{{- $config := deepCopy .Values.config -}}
{{- $api := $config.api | default dict -}}
{{- $_ := set $config "api" (merge (dict "listen" "0.0.0.0:8080") $api) -}}
{{- $_ := set $config "webhooks" (merge (dict "listen" "0.0.0.0:8081") $config.webhooks) -}}
{{- $_ := set $config "ops" (merge (dict "listen" "0.0.0.0:9090") ($config.ops | default dict)) -}}
{{- $security := $config.security | default dict -}}
{{- $_ := set $config "security" (merge $security (dict "fingerprint_key_file" "fingerprint-key")) -}}
{{- range $config.shops -}}
{{- if not .secret_key_file -}}
{{- $_ := set . "secret_key_file" (printf "shop-%s-secret-key" .id) -}}
{{- end -}}
{{- if and (not .public_key) (not .public_key_file) (ne (.webhook_signature | default "required") "optional") -}}
{{- fail (printf "config.shops: shop %s has no public_key: without it no webhook can be believed. Copy it from the back office." .id) -}}
{{- end -}}
{{- end -}}
{{- range $config.subscribers -}}
{{- if not .secret_file -}}
{{- if not (regexMatch "^[A-Za-z0-9._-]+$" .name) -}}
{{- fail (printf "config.subscribers: give %q a secret_file, its name cannot be part of a key" .name) -}}
{{- end -}}
{{- $_ := set . "secret_file" (printf "subscriber-%s-secret" .name) -}}
{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end }}

{{- /* All values of the …_file settings, as a JSON list. */}}
{{- define "reconciler.files" -}}
{{- $config := include "reconciler.settings" . | fromJson -}}
{{- $files := list -}}
{{- range concat (list $config.security ($config.gateway | default dict)) $config.shops $config.clients $config.subscribers -}}
{{- range $key, $value := . -}}
{{- if hasSuffix "_file" $key -}}
{{- $files = concat $files (kindIs "slice" $value | ternary $value (list $value)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson ($files | uniq) -}}
{{- end }}

{{- /* Those of them that are keys of the Secret. */}}
{{- define "reconciler.secretKeys" -}}
{{- $keys := list -}}
{{- range include "reconciler.files" . | fromJsonArray -}}
{{- if not (contains "/" .) -}}
{{- $keys = append $keys . -}}
{{- end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end }}

{{- /* Puts the mounted path in the place of a key, in one dict. */}}
{{- define "reconciler.mounted" -}}
{{- $dict := . -}}
{{- range $key := keys $dict -}}
{{- if hasSuffix "_file" $key -}}
{{- $value := get $dict $key -}}
{{- $paths := list -}}
{{- range kindIs "slice" $value | ternary $value (list $value) -}}
{{- $paths = append $paths (contains "/" . | ternary . (printf "/run/secrets/reconciler/%s" .)) -}}
{{- end -}}
{{- $_ := set $dict $key (kindIs "slice" $value | ternary $paths (first $paths)) -}}
{{- end -}}
{{- end -}}
{{- toJson $dict -}}
{{- end }}

{{- define "reconciler.config" -}}
{{- $config := include "reconciler.settings" . | fromJson -}}
# Made by the chart: change the values, not this.
{{- range $section := list "database" "api" "webhooks" "ops" "security" "gateway" "delivery" "follow" "retention" "serve" "telemetry" }}
{{- with get $config $section }}

[{{ $section }}]
{{- include "reconciler.toml.table" (include "reconciler.mounted" . | fromJson) }}
{{- end }}
{{- end }}
{{- range $list := list "shops" "clients" "subscribers" }}
{{- range get $config $list }}

[[{{ $list }}]]
{{- include "reconciler.toml.table" (include "reconciler.mounted" . | fromJson) }}
{{- end }}
{{- end }}
{{ end }}
