{{- define "synthvol.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Object names; 40 characters leave room for the endings (-headless, -trainer-<hash>). */}}
{{- define "synthvol.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "synthvol.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "synthvol.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "synthvol.selectorLabels" -}}
app.kubernetes.io/name: {{ include "synthvol.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object; call with (dict "root" $ "component" "server"). */}}
{{- define "synthvol.labels" -}}
{{ include "synthvol.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that select the server's pods, and only them. */}}
{{- define "synthvol.serverSelector" -}}
{{ include "synthvol.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "synthvol.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "synthvol.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Image reference; call with (dict "root" $ "repository" R "variant" "cpu"|"cuda"|"" ["digest" D]). */}}
{{- define "synthvol.image" -}}
{{- $repository := .repository -}}
{{- with .root.Values.image.registry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end -}}
{{- if .digest -}}
{{- printf "%s@%s" $repository .digest -}}
{{- else -}}
{{- $tag := default .root.Chart.AppVersion .root.Values.image.tag -}}
{{- printf "%s:%s%s" $repository $tag (ternary "" (printf "-%s" .variant) (empty .variant)) -}}
{{- end -}}
{{- end -}}

{{- define "synthvol.serverImage" -}}
{{- include "synthvol.image" (dict "root" . "repository" .Values.image.repository "variant" (ternary "cuda" "cpu" .Values.gpu.enabled) "digest" .Values.image.digest) -}}
{{- end -}}

{{/* The restricted Pod Security profile, pod level. */}}
{{- define "synthvol.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.securityUser }}
runAsGroup: {{ .Values.securityUser }}
fsGroup: {{ .Values.securityUser }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The restricted Pod Security profile, container level. */}}
{{- define "synthvol.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Name of the Secret with the server's certificate; empty without TLS. */}}
{{- define "synthvol.tlsSecret" -}}
{{- if .Values.tls.enabled -}}
{{- if .Values.tls.certManager.enabled -}}
{{- default (printf "%s-tls" (include "synthvol.fullname" .)) .Values.tls.existingSecret -}}
{{- else -}}
{{- required "tls.enabled needs tls.existingSecret, or tls.certManager.enabled with an issuer" .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Claim with the model repository. */}}
{{- define "synthvol.modelClaim" -}}
{{- default (printf "%s-models" (include "synthvol.fullname" .)) .Values.models.pvc.existingClaim -}}
{{- end -}}

{{- define "synthvol.gracePeriod" -}}
{{- add .Values.drain.preStopSeconds .Values.drain.longestVolumeSeconds .Values.drain.marginSeconds -}}
{{- end -}}

{{/* What the HPA and KEDA scale on: the mean over the pods of the time until all that waits or runs is done. */}}
{{- define "synthvol.scaledMetric" -}}synthvol_queue_backlog_seconds{{- end -}}

{{/* How fast pods come and go, for the HPA and for the one that KEDA makes: up at once, down one at a time. */}}
{{- define "synthvol.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 60
    - type: Pods
      value: 2
      periodSeconds: 60
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  policies:
    - type: Pods
      value: 1
      # Kubernetes allows at most half an hour.
      periodSeconds: {{ min 1800 (max 60 (int (include "synthvol.gracePeriod" .))) }}
{{- end -}}

{{/* Limits and requests with the GPU added; call with (dict "resources" R "name" N "count" C). */}}
{{- define "synthvol.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int .count) 0 -}}
{{- $limits := default (dict) $resources.limits -}}
{{- $_ := set $limits .name (int .count) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{/* Flags with which the chart's own callers reach the server. */}}
{{- define "synthvol.clientArgs" -}}
- --server={{ include "synthvol.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- if .Values.tls.enabled }}
- --tls-ca=/etc/synthvol/tls/ca.crt
{{- if .Values.tls.clientSecret }}
- --tls-cert=/etc/synthvol/tls/tls.crt
- --tls-key=/etc/synthvol/tls/tls.key
{{- end }}
{{- end }}
{{- if .Values.auth.clientTokenSecret }}
- --token-file=/etc/synthvol/token/token
{{- end }}
{{- end -}}

{{- define "synthvol.clientMounts" -}}
- name: scratch
  mountPath: /tmp
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: /etc/synthvol/tls
  readOnly: true
{{- end }}
{{- if .Values.auth.clientTokenSecret }}
- name: token
  mountPath: /etc/synthvol/token
  readOnly: true
{{- end }}
{{- end -}}

{{- define "synthvol.clientVolumes" -}}
- name: scratch
  emptyDir:
    sizeLimit: 2Gi
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ default (include "synthvol.tlsSecret" .) .Values.tls.clientSecret }}
    defaultMode: 0440
    {{- if not .Values.tls.clientSecret }}
    # The server's private key stays with the server.
    items:
      - key: ca.crt
        path: ca.crt
    {{- end }}
{{- end }}
{{- if .Values.auth.clientTokenSecret }}
- name: token
  secret:
    secretName: {{ .Values.auth.clientTokenSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* CPU threads of a synthesis: server.threads, or the CPU request rounded up ("0 = all cores" would mean the node's). */}}
{{- define "synthvol.threads" -}}
{{- if .Values.server.threads -}}
{{- .Values.server.threads -}}
{{- else -}}
{{- $cpu := toString (dig "requests" "cpu" "1" .Values.resources) -}}
{{- if hasSuffix "m" $cpu -}}
{{- max 1 (div (add (trimSuffix "m" $cpu | int) 999) 1000) -}}
{{- else -}}
{{- max 1 (ceil (float64 $cpu) | int) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The server's configuration: what the chart decides, then server.config over it. */}}
{{- define "synthvol.serverConfig" -}}
{{- $address := .Values.server.bindAddress -}}
{{- $config := dict
  "listen" (printf "%s:8500" $address)
  "metricsListen" (printf "%s:9464" $address)
  "healthListen" (printf "%s:8501" $address)
  "modelRepository" "/models"
  "drainGrace" (printf "%ds" (int .Values.drain.longestVolumeSeconds))
  "workers" (dict
    "devices" (list (ternary "cuda" "cpu" .Values.gpu.enabled))
    "threadsPerWorker" (include "synthvol.threads" . | int)) -}}
{{- if .Values.tls.enabled -}}
{{- $tls := dict "certificateFile" "/etc/synthvol/tls/tls.crt" "privateKeyFile" "/etc/synthvol/tls/tls.key" -}}
{{- if .Values.tls.requireClientCertificate -}}
{{- $_ := set $tls "clientCaFile" "/etc/synthvol/tls/ca.crt" -}}
{{- end -}}
{{- $_ := set $config "tls" $tls -}}
{{- else -}}
{{- $_ := set $config "allowPlaintext" true -}}
{{- end -}}
{{- if .Values.auth.existingSecret -}}
{{- $_ := set $config "auth" (dict "tokenFile" "/etc/synthvol/tokens/tokens.json") -}}
{{- end -}}
{{- toPrettyJson (mergeOverwrite $config (deepCopy .Values.server.config)) -}}
{{- end -}}

{{/*
Readiness: SERVING once a model is ready, NOT_SERVING while draining. Port 8501 serves health only, in plaintext: the
kubelet's gRPC probe speaks neither TLS nor tokens.
*/}}
{{- define "synthvol.probe" -}}
grpc:
  port: 8501
{{- end -}}

{{/* Start-up and liveness: the process answers, whatever its models do; a failed load must not restart it. */}}
{{- define "synthvol.livenessProbe" -}}
grpc:
  port: 8501
  service: liveness
{{- end -}}

{{/* Flags of synthvol-train. */}}
{{- define "synthvol.trainArgs" -}}
- --data=/data
- --output=/output/{{ .Values.trainer.run }}
- --arch={{ .Values.trainer.arch }}
- --size={{ .Values.trainer.size }}
- --iterations={{ int .Values.trainer.iterations }}
- --batch-size={{ .Values.trainer.batchSize }}
- --device={{ ternary "cuda" "cpu" (gt (int .Values.trainer.gpus) 0) }}
- --resume=auto
{{- with .Values.trainer.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pod template of a trainer pod, for the Job and for both replica types of the PyTorchJob. */}}
{{- define "synthvol.trainerPod" -}}
metadata:
  labels:
    {{- include "synthvol.labels" (dict "root" . "component" "trainer") | nindent 4 }}
spec:
  restartPolicy: {{ ternary "OnFailure" "Never" (eq .Values.trainer.kind "pytorchjob") }}
  serviceAccountName: {{ include "synthvol.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # Time to write a checkpoint at SIGTERM.
  terminationGracePeriodSeconds: 120
  securityContext:
    {{- include "synthvol.podSecurityContext" . | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  containers:
    # The name "pytorch" is what the training operator looks for.
    - name: pytorch
      image: {{ include "synthvol.image" (dict "root" . "repository" .Values.trainer.repository "variant" "cuda") }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [/usr/bin/synthvol-train]
      args:
        {{- include "synthvol.trainArgs" . | nindent 8 }}
      securityContext:
        {{- include "synthvol.containerSecurityContext" . | nindent 8 }}
      resources:
        {{- include "synthvol.resources" (dict "resources" .Values.trainer.resources "name" .Values.gpu.resourceName "count" .Values.trainer.gpus) | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /data
          readOnly: true
        - name: output
          mountPath: /output
        - name: shared-memory
          mountPath: /dev/shm
        - name: scratch
          mountPath: /tmp
  volumes:
    - name: data
      persistentVolumeClaim:
        claimName: {{ required "trainer.dataClaim: the claim with synthvol-prepare's output" .Values.trainer.dataClaim }}
        readOnly: true
    - name: output
      persistentVolumeClaim:
        claimName: {{ required "trainer.outputClaim: the claim that takes the checkpoints" .Values.trainer.outputClaim }}
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: 8Gi
    - name: scratch
      emptyDir:
        sizeLimit: 4Gi
  {{- if gt (int .Values.trainer.gpus) 0 }}
  {{- with .Values.gpu.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.gpu.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.gpu.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Pod template of the bulk Job. */}}
{{- define "synthvol.bulkPod" -}}
metadata:
  labels:
    {{- include "synthvol.labels" (dict "root" . "component" "bulk") | nindent 4 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "synthvol.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "synthvol.podSecurityContext" . | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  containers:
    - name: client
      image: {{ include "synthvol.image" (dict "root" . "repository" .Values.bulk.repository "variant" "") }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - generate
        {{- include "synthvol.clientArgs" . | nindent 8 }}
        - --model={{ .Values.bulk.model }}
        - --seed={{ int64 .Values.bulk.seed }}
        - --count={{ int64 .Values.bulk.count }}
        - --shard=$(JOB_COMPLETION_INDEX)/{{ .Values.bulk.shards }}
        - --format={{ .Values.bulk.format }}
        - --output=/output/{{ .Values.bulk.outputPath }}
        {{- with .Values.bulk.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: JOB_COMPLETION_INDEX
          valueFrom:
            fieldRef:
              fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
      securityContext:
        {{- include "synthvol.containerSecurityContext" . | nindent 8 }}
      resources:
        {{- toYaml .Values.bulk.resources | nindent 8 }}
      volumeMounts:
        {{- include "synthvol.clientMounts" . | nindent 8 }}
        - name: output
          mountPath: /output
  volumes:
    {{- include "synthvol.clientVolumes" . | nindent 4 }}
    - name: output
      persistentVolumeClaim:
        claimName: {{ required "bulk.outputClaim: the claim that takes the volumes" .Values.bulk.outputClaim }}
{{- end -}}
