{{- define "speaker.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "speaker.labels" -}}
app.kubernetes.io/name: speaker-tasks
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "speaker.image" -}}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end }}

{{- define "speaker.redisUrl" -}}
{{- if .Values.valkey.enabled -}}redis://{{ include "speaker.name" . }}-valkey:6379/0
{{- else -}}{{ required "redisUrl is wanted where valkey.enabled is false" .Values.redisUrl }}{{- end -}}
{{- end }}

{{/* The environment of every process. Links of services are off: SPEAKER_PORT=tcp://... would be one of them. */}}
{{- define "speaker.environment" -}}
- {name: SPEAKER_REDIS_URL, value: {{ include "speaker.redisUrl" . | quote }}}
- {name: SPEAKER_REDIS_PASSWORD_FILE, value: /run/secrets/redis/redis_password}
- {name: SPEAKER_LOG_FORMAT, value: json}
{{- if .Values.recordings.claim }}
- {name: SPEAKER_DATA_ROOTS, value: /recordings}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: SPEAKER_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- define "speaker.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "speaker.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "speaker.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /data}
- {name: redis-password, mountPath: /run/secrets/redis, readOnly: true}
{{- if .Values.recordings.claim }}
- {name: recordings, mountPath: /recordings, readOnly: true}
{{- end }}
{{- end }}

{{- define "speaker.volumes" -}}
- {name: tmp, emptyDir: {}}
- {name: data, emptyDir: {}}
- {name: redis-password, secret: {secretName: {{ .Values.secrets.redis }}}}
{{- if .Values.recordings.claim }}
- {name: recordings, persistentVolumeClaim: {claimName: {{ .Values.recordings.claim }}, readOnly: true}}
{{- end }}
{{- end }}

{{/* A deployment of workers: a dict of root, kind, spec, arguments, image and environment. */}}
{{- define "speaker.worker" -}}
{{- $root := .root }}
{{- $name := printf "%s-%s" (include "speaker.name" $root) .kind }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{- include "speaker.labels" $root | nindent 4 }}
spec:
  {{- if not (dig "scaling" "enabled" false .spec) }}
  replicas: {{ .spec.replicas }}
  {{- end }}
  selector:
    matchLabels: {app.kubernetes.io/instance: {{ $root.Release.Name }}, app.kubernetes.io/component: {{ .kind }}}
  template:
    metadata:
      labels:
        {{- include "speaker.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .kind }}
      {{- if $root.Values.metrics.annotations }}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9101"}
      {{- end }}
    spec:
      {{- include "speaker.pod" $root | nindent 6 }}
      # A worker that is to end hands a chunk of an enrollment on, and ends what somebody waits for.
      terminationGracePeriodSeconds: 60
      {{- with .spec.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .spec.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: worker
          image: {{ .image | quote }}
          {{- include "speaker.container" $root | nindent 10 }}
          args: {{ .arguments | toJson }}
          env:
            {{- include "speaker.environment" $root | nindent 12 }}
            - {name: SPEAKER_METRICS_HOST, value: 0.0.0.0}
            - {name: SPEAKER_METRICS_PORT, value: "9101"}
            {{- range $variable, $value := .environment }}
            - {name: {{ $variable }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: metrics, containerPort: 9101}
          # The page is there once the model is warm, and a process that is stopped does not answer.
          startupProbe: {httpGet: {path: /metrics, port: metrics}, periodSeconds: 3, failureThreshold: 100}
          readinessProbe: {httpGet: {path: /metrics, port: metrics}, periodSeconds: 5, timeoutSeconds: 4}
          livenessProbe: {httpGet: {path: /metrics, port: metrics}, periodSeconds: 8, timeoutSeconds: 4, failureThreshold: 3}
          resources: {{- toYaml .spec.resources | nindent 12 }}
          volumeMounts: {{- include "speaker.mounts" $root | nindent 12 }}
      volumes: {{- include "speaker.volumes" $root | nindent 8 }}
{{- end }}

{{/* Scaling by the length of a queue, which is a list in Redis: a dict of root, kind, spec, queue. */}}
{{- define "speaker.scaling" -}}
{{- $root := .root }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "speaker.name" $root }}-{{ .kind }}
  labels: {{- include "speaker.labels" $root | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ include "speaker.name" $root }}-{{ .kind }}}
  minReplicaCount: {{ max 1 (int .spec.scaling.min) }}
  maxReplicaCount: {{ .spec.scaling.max }}
  cooldownPeriod: 120
  triggers:
    - type: redis
      metadata:
        address: {{ include "speaker.redisUrl" $root | replace "redis://" "" | replace "rediss://" "" | replace "/0" "" | quote }}
        listName: {{ .queue }}
        listLength: {{ .spec.scaling.waiting | quote }}
      authenticationRef: {name: {{ include "speaker.name" $root }}-redis}
{{- end }}
