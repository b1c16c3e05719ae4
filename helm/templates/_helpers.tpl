{{- define "reconciler.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- /* Short enough for every suffix below. */}}
{{- define "reconciler.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "reconciler.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "reconciler.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "reconciler.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reconciler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "reconciler.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "reconciler.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/part-of: reconciler
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Without the chart's version, which alone must not restart anything. */}}
{{- define "reconciler.podLabels" -}}
{{ include "reconciler.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/part-of: reconciler
{{- end }}

{{- define "reconciler.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "reconciler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "reconciler.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- /* The names of the Deployments, each with the roles that it has. As JSON. */}}
{{- define "reconciler.deployments" -}}
{{- if .Values.split -}}
{"api":["api"],"engine":["engine"],"webhooks":["webhooks"]}
{{- else -}}
{"all":["api","webhooks","engine"]}
{{- end -}}
{{- end }}

{{- define "reconciler.migrations" -}}
{{- $mode := .Values.migrations.mode -}}
{{- if eq $mode "auto" -}}
{{- ternary "start" "job" .Values.cnpg.enabled -}}
{{- else -}}
{{- if and (eq $mode "job") .Values.cnpg.enabled -}}
{{- fail "migrations.mode is job, but with cnpg.enabled the database is not there before the install: use start or auto" -}}
{{- end -}}
{{- $mode -}}
{{- end -}}
{{- end }}

{{- /* Seconds of a duration such as 150ms, 35s, 2m or 1h 30m, rounded up. */}}
{{- define "reconciler.seconds" -}}
{{- $unit := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $ms := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $ms = add $ms (mul (regexFind "^[0-9]+" .) (get $unit (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- div (add $ms 999) 1000 -}}
{{- end }}

{{- /* serve.drain_timeout, with the default that the service has. */}}
{{- define "reconciler.drainSeconds" -}}
{{- $serve := .Values.config.serve | default dict -}}
{{- $gateway := .Values.config.gateway | default dict -}}
{{- if $serve.drain_timeout -}}
{{- include "reconciler.seconds" $serve.drain_timeout -}}
{{- else -}}
{{- add 5 (include "reconciler.seconds" ($gateway.request_timeout | default "30s")) -}}
{{- end -}}
{{- end }}

{{- /* serve.shutdown_delay, with the default that the service has. */}}
{{- define "reconciler.shutdownDelaySeconds" -}}
{{- $serve := .Values.config.serve | default dict -}}
{{- include "reconciler.seconds" ($serve.shutdown_delay | default "5s") -}}
{{- end }}

{{- /* How long a pod may take to stop. Killed earlier, it would leave submits in doubt. */}}
{{- define "reconciler.graceSeconds" -}}
{{- $drain := add (int (include "reconciler.drainSeconds" .)) (int (include "reconciler.shutdownDelaySeconds" .)) -}}
{{- $preStop := int .Values.stop.preStopSeconds -}}
{{- $given := int .Values.stop.terminationGracePeriodSeconds -}}
{{- if $given -}}
{{- $least := add $preStop $drain 1 -}}
{{- if lt $given (int $least) -}}
{{- fail (printf "stop.terminationGracePeriodSeconds is %d, but a stop can take %d s (preStopSeconds %d + serve.drain_timeout and serve.shutdown_delay %d): a pod killed before that leaves submits in doubt. Give at least %d, or 0 to have it computed." $given (add $preStop $drain) $preStop $drain $least) -}}
{{- end -}}
{{- $given -}}
{{- else -}}
{{- add $preStop $drain (int .Values.stop.marginSeconds) -}}
{{- end -}}
{{- end }}

{{- /* Whether the chart makes the Secret. */}}
{{- define "reconciler.secretName" -}}
{{- .Values.secrets.existingSecret | default (include "reconciler.fullname" .) -}}
{{- end }}

{{- define "reconciler.cnpgName" -}}
{{- include "reconciler.fullname" . }}-db
{{- end }}

{{- /* The environment with the database's address: a dict of the root and of the Secret that the chart
made, if it did, under the name that it has there. */}}
{{- define "reconciler.env" -}}
{{- $root := .root -}}
{{- $secret := $root.Values.database.secretName | default .secretName -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- if $root.Values.cnpg.enabled }}
      name: {{ include "reconciler.cnpgName" $root }}-app
      key: uri
      {{- else }}
      name: {{ $secret }}
      key: {{ $root.Values.database.urlKey }}
      {{- end }}
{{- if and .migrates $root.Values.database.migrateUrlKey }}
- name: RECONCILER__DATABASE__MIGRATE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $root.Values.database.migrateUrlKey }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "reconciler.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "reconciler.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Volumes: a dict of the root, the ConfigMap and the Secret. Only the keys that the configuration
names are mounted. */}}
{{- define "reconciler.volumes" -}}
- name: config
  configMap:
    name: {{ .configName }}
- name: secrets
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      {{- range include "reconciler.secretKeys" .root | fromJsonArray }}
      - { key: {{ . | quote }}, path: {{ . | quote }} }
      {{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "reconciler.volumeMounts" -}}
- { name: config, mountPath: /etc/reconciler, readOnly: true }
- { name: secrets, mountPath: /run/secrets/reconciler, readOnly: true }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
