//! The tables of sentences. Each is whole; `{time}`, `{host}` and `{id}` stand where their sentence needs them.

use super::{Texts, Words};

/// All languages, English first.
pub(super) static ALL: [&Texts; 11] =
    [&ENGLISH, &GERMAN, &FRENCH, &SPANISH, &ITALIAN, &PORTUGUESE, &DUTCH, &POLISH, &RUSSIAN, &JAPANESE, &CHINESE];

pub(super) static ENGLISH: Texts = Texts {
    tag: "en",
    failed: Words {
        subject: "Message not delivered",
        before: "Your message of {time} was not delivered to:",
        after: "It will not be tried again.",
    },
    delayed: Words {
        subject: "Message delayed",
        before: "Your message of {time} has not been delivered yet to:",
        after: "It is being tried again; you need not send it a second time.",
    },
    delivered: Words {
        subject: "Message delivered",
        before: "Your message of {time} was delivered to:",
        after: "That does not mean that it has been read.",
    },
    relayed: Words {
        subject: "Message passed on",
        before: "Your message of {time} was passed on to a server that does not report what becomes of it, for:",
        after: "Whether it arrives is therefore not known.",
    },
    expanded: Words {
        subject: "Message passed on to several recipients",
        before: "Your message of {time} was passed on to several recipients by:",
        after: "If it cannot be delivered to one of them, you may hear of it.",
    },
    until: "It will be tried again until {time}; you need not send it a second time.",
    causes: [
        "There is no such address there.",
        "The recipient's domain does not offer this service.",
        "The recipient's server could not be reached.",
        "The time for delivery is over.",
        "The recipient's inbox is full.",
        "The message is too large for the recipient.",
        "No connection was secure enough.",
        "The message was refused.",
        "A message of this form cannot be taken there.",
    ],
    uncertain: "The connection broke after the message had been sent; it may have arrived nevertheless.",
    answered: "The server {host} answered:",
    details: "Details:",
    footer: "This receipt was written by the server {host}; its reference is {id}.",
};

pub(super) static GERMAN: Texts = Texts {
    tag: "de",
    failed: Words {
        subject: "Nachricht nicht zugestellt",
        before: "Ihre Nachricht vom {time} wurde nicht zugestellt an:",
        after: "Es gibt keinen weiteren Versuch.",
    },
    delayed: Words {
        subject: "Nachricht verzögert",
        before: "Ihre Nachricht vom {time} ist noch nicht zugestellt an:",
        after: "Die Zustellung wird weiter versucht; Sie brauchen die Nachricht nicht noch einmal zu senden.",
    },
    delivered: Words {
        subject: "Nachricht zugestellt",
        before: "Ihre Nachricht vom {time} wurde zugestellt an:",
        after: "Das heißt nicht, dass sie gelesen wurde.",
    },
    relayed: Words {
        subject: "Nachricht weitergegeben",
        before: "Ihre Nachricht vom {time} wurde an einen Server weitergegeben, der nicht meldet, was aus ihr wird. Empfänger:",
        after: "Ob sie ankommt, ist deshalb nicht bekannt.",
    },
    expanded: Words {
        subject: "Nachricht an mehrere Empfänger weitergegeben",
        before: "Ihre Nachricht vom {time} wurde an mehrere Empfänger weitergegeben von:",
        after: "Kann sie einem von ihnen nicht zugestellt werden, erfahren Sie davon möglicherweise.",
    },
    until: "Die Zustellung wird bis {time} weiter versucht; Sie brauchen die Nachricht nicht noch einmal zu senden.",
    causes: [
        "Diese Adresse gibt es dort nicht.",
        "Die Domain des Empfängers bietet diesen Dienst nicht an.",
        "Der Server des Empfängers war nicht erreichbar.",
        "Die Zeit für die Zustellung ist abgelaufen.",
        "Das Postfach des Empfängers ist voll.",
        "Die Nachricht ist zu groß für den Empfänger.",
        "Keine Verbindung war sicher genug.",
        "Die Nachricht wurde abgelehnt.",
        "Eine Nachricht dieser Form kann dort nicht angenommen werden.",
    ],
    uncertain: "Die Verbindung riss ab, nachdem die Nachricht gesendet war; sie kann trotzdem angekommen sein.",
    answered: "Der Server {host} antwortete:",
    details: "Einzelheiten:",
    footer: "Diese Meldung hat der Server {host} verfasst; ihr Zeichen ist {id}.",
};

pub(super) static FRENCH: Texts = Texts {
    tag: "fr",
    failed: Words {
        subject: "Message non remis",
        before: "Votre message du {time} n’a pas été remis à\u{a0}:",
        after: "Il n’y aura pas d’autre tentative.",
    },
    delayed: Words {
        subject: "Message retardé",
        before: "Votre message du {time} n’a pas encore été remis à\u{a0}:",
        after: "Les tentatives continuent\u{a0}; il est inutile de l’envoyer une seconde fois.",
    },
    delivered: Words {
        subject: "Message remis",
        before: "Votre message du {time} a été remis à\u{a0}:",
        after: "Cela ne signifie pas qu’il a été lu.",
    },
    relayed: Words {
        subject: "Message transmis",
        before: "Votre message du {time} a été transmis à un serveur qui ne signale pas ce qu’il en advient, pour\u{a0}:",
        after: "On ne sait donc pas s’il arrivera.",
    },
    expanded: Words {
        subject: "Message transmis à plusieurs destinataires",
        before: "Votre message du {time} a été transmis à plusieurs destinataires par\u{a0}:",
        after: "S’il ne peut être remis à l’un d’eux, vous pourriez en être informé.",
    },
    until: "Les tentatives continuent jusqu’au {time}\u{a0}; il est inutile de l’envoyer une seconde fois.",
    causes: [
        "Cette adresse n’existe pas à cet endroit.",
        "Le domaine du destinataire n’offre pas ce service.",
        "Le serveur du destinataire n’a pas pu être joint.",
        "Le délai de remise est écoulé.",
        "La boîte du destinataire est pleine.",
        "Le message est trop volumineux pour le destinataire.",
        "Aucune connexion n’était assez sûre.",
        "Le message a été refusé.",
        "Un message de cette forme ne peut y être accepté.",
    ],
    uncertain: "La connexion a été rompue après l’envoi du message\u{a0}; il est peut-être arrivé malgré tout.",
    answered: "Le serveur {host} a répondu\u{a0}:",
    details: "Détails\u{a0}:",
    footer: "Cet avis a été rédigé par le serveur {host}\u{a0}; sa référence est {id}.",
};

pub(super) static SPANISH: Texts = Texts {
    tag: "es",
    failed: Words {
        subject: "Mensaje no entregado",
        before: "Su mensaje del {time} no se ha entregado a:",
        after: "No se volverá a intentar.",
    },
    delayed: Words {
        subject: "Mensaje retrasado",
        before: "Su mensaje del {time} aún no se ha entregado a:",
        after: "Se sigue intentando; no es necesario enviarlo otra vez.",
    },
    delivered: Words {
        subject: "Mensaje entregado",
        before: "Su mensaje del {time} se ha entregado a:",
        after: "Eso no significa que se haya leído.",
    },
    relayed: Words {
        subject: "Mensaje transmitido",
        before: "Su mensaje del {time} se ha transmitido a un servidor que no comunica qué ocurre con él, para:",
        after: "Por eso no se sabe si llegará.",
    },
    expanded: Words {
        subject: "Mensaje transmitido a varios destinatarios",
        before: "Su mensaje del {time} fue transmitido a varios destinatarios por:",
        after: "Si no se puede entregar a alguno de ellos, es posible que se le comunique.",
    },
    until: "Se seguirá intentando hasta el {time}; no es necesario enviarlo otra vez.",
    causes: [
        "Esa dirección no existe allí.",
        "El dominio del destinatario no ofrece este servicio.",
        "No se pudo contactar con el servidor del destinatario.",
        "El plazo de entrega ha terminado.",
        "El buzón del destinatario está lleno.",
        "El mensaje es demasiado grande para el destinatario.",
        "Ninguna conexión era lo bastante segura.",
        "El mensaje fue rechazado.",
        "Allí no se puede aceptar un mensaje de esta forma.",
    ],
    uncertain: "La conexión se interrumpió después de enviar el mensaje; es posible que haya llegado de todos modos.",
    answered: "El servidor {host} respondió:",
    details: "Detalles:",
    footer: "Este aviso lo ha escrito el servidor {host}; su referencia es {id}.",
};

pub(super) static ITALIAN: Texts = Texts {
    tag: "it",
    failed: Words {
        subject: "Messaggio non consegnato",
        before: "Il suo messaggio del {time} non è stato consegnato a:",
        after: "Non ci saranno altri tentativi.",
    },
    delayed: Words {
        subject: "Messaggio in ritardo",
        before: "Il suo messaggio del {time} non è ancora stato consegnato a:",
        after: "I tentativi continuano; non occorre inviarlo di nuovo.",
    },
    delivered: Words {
        subject: "Messaggio consegnato",
        before: "Il suo messaggio del {time} è stato consegnato a:",
        after: "Ciò non significa che sia stato letto.",
    },
    relayed: Words {
        subject: "Messaggio inoltrato",
        before: "Il suo messaggio del {time} è stato inoltrato a un server che non comunica che cosa ne sarà, per:",
        after: "Non è quindi noto se arriverà.",
    },
    expanded: Words {
        subject: "Messaggio inoltrato a più destinatari",
        before: "Il suo messaggio del {time} è stato inoltrato a più destinatari da:",
        after: "Se non può essere consegnato a uno di loro, forse ne sarà informato.",
    },
    until: "I tentativi continuano fino al {time}; non occorre inviarlo di nuovo.",
    causes: [
        "Questo indirizzo lì non esiste.",
        "Il dominio del destinatario non offre questo servizio.",
        "Il server del destinatario non era raggiungibile.",
        "Il tempo per la consegna è scaduto.",
        "La casella del destinatario è piena.",
        "Il messaggio è troppo grande per il destinatario.",
        "Nessuna connessione era abbastanza sicura.",
        "Il messaggio è stato rifiutato.",
        "Un messaggio di questa forma non può essere accettato lì.",
    ],
    uncertain: "La connessione si è interrotta dopo l’invio del messaggio; potrebbe essere arrivato comunque.",
    answered: "Il server {host} ha risposto:",
    details: "Dettagli:",
    footer: "Questo avviso è stato scritto dal server {host}; il suo riferimento è {id}.",
};

pub(super) static PORTUGUESE: Texts = Texts {
    tag: "pt",
    failed: Words {
        subject: "Mensagem não entregue",
        before: "A sua mensagem de {time} não foi entregue a:",
        after: "Não haverá nova tentativa.",
    },
    delayed: Words {
        subject: "Mensagem atrasada",
        before: "A sua mensagem de {time} ainda não foi entregue a:",
        after: "As tentativas continuam; não é preciso enviá-la outra vez.",
    },
    delivered: Words {
        subject: "Mensagem entregue",
        before: "A sua mensagem de {time} foi entregue a:",
        after: "Isso não significa que tenha sido lida.",
    },
    relayed: Words {
        subject: "Mensagem encaminhada",
        before: "A sua mensagem de {time} foi encaminhada para um servidor que não informa o que acontece com ela, para:",
        after: "Por isso não se sabe se chegará.",
    },
    expanded: Words {
        subject: "Mensagem encaminhada a vários destinatários",
        before: "A sua mensagem de {time} foi encaminhada a vários destinatários por:",
        after: "Se não puder ser entregue a algum deles, talvez receba um aviso.",
    },
    until: "As tentativas continuam até {time}; não é preciso enviá-la outra vez.",
    causes: [
        "Esse endereço não existe lá.",
        "O domínio do destinatário não oferece este serviço.",
        "Não foi possível contactar o servidor do destinatário.",
        "O prazo de entrega terminou.",
        "A caixa do destinatário está cheia.",
        "A mensagem é grande demais para o destinatário.",
        "Nenhuma ligação era suficientemente segura.",
        "A mensagem foi recusada.",
        "Uma mensagem desta forma não pode ser aceite lá.",
    ],
    uncertain: "A ligação foi interrompida depois de a mensagem ter sido enviada; é possível que tenha chegado mesmo assim.",
    answered: "O servidor {host} respondeu:",
    details: "Pormenores:",
    footer: "Este aviso foi escrito pelo servidor {host}; a sua referência é {id}.",
};

pub(super) static DUTCH: Texts = Texts {
    tag: "nl",
    failed: Words {
        subject: "Bericht niet bezorgd",
        before: "Uw bericht van {time} is niet bezorgd bij:",
        after: "Er wordt geen nieuwe poging gedaan.",
    },
    delayed: Words {
        subject: "Bericht vertraagd",
        before: "Uw bericht van {time} is nog niet bezorgd bij:",
        after: "Het wordt opnieuw geprobeerd; u hoeft het niet nog eens te sturen.",
    },
    delivered: Words {
        subject: "Bericht bezorgd",
        before: "Uw bericht van {time} is bezorgd bij:",
        after: "Dat betekent niet dat het gelezen is.",
    },
    relayed: Words {
        subject: "Bericht doorgegeven",
        before: "Uw bericht van {time} is doorgegeven aan een server die niet meldt wat ermee gebeurt, voor:",
        after: "Of het aankomt, is daarom niet bekend.",
    },
    expanded: Words {
        subject: "Bericht doorgegeven aan meerdere ontvangers",
        before: "Uw bericht van {time} is aan meerdere ontvangers doorgegeven door:",
        after: "Als het bij een van hen niet bezorgd kan worden, hoort u dat mogelijk.",
    },
    until: "Het wordt opnieuw geprobeerd tot {time}; u hoeft het niet nog eens te sturen.",
    causes: [
        "Dat adres bestaat daar niet.",
        "Het domein van de ontvanger biedt deze dienst niet aan.",
        "De server van de ontvanger was niet bereikbaar.",
        "De tijd voor de bezorging is verstreken.",
        "De postbus van de ontvanger is vol.",
        "Het bericht is te groot voor de ontvanger.",
        "Geen enkele verbinding was veilig genoeg.",
        "Het bericht is geweigerd.",
        "Een bericht van deze vorm kan daar niet worden aangenomen.",
    ],
    uncertain: "De verbinding werd verbroken nadat het bericht was verzonden; het kan toch zijn aangekomen.",
    answered: "De server {host} antwoordde:",
    details: "Details:",
    footer: "Deze melding is geschreven door de server {host}; het kenmerk is {id}.",
};

pub(super) static POLISH: Texts = Texts {
    tag: "pl",
    failed: Words {
        subject: "Wiadomość niedostarczona",
        before: "Wiadomość z {time} nie została dostarczona do:",
        after: "Nie będzie kolejnych prób.",
    },
    delayed: Words {
        subject: "Wiadomość opóźniona",
        before: "Wiadomość z {time} nie została jeszcze dostarczona do:",
        after: "Próby trwają; nie trzeba wysyłać jej ponownie.",
    },
    delivered: Words {
        subject: "Wiadomość dostarczona",
        before: "Wiadomość z {time} została dostarczona do:",
        after: "Nie oznacza to, że została przeczytana.",
    },
    relayed: Words {
        subject: "Wiadomość przekazana",
        before: "Wiadomość z {time} została przekazana serwerowi, który nie zgłasza, co się z nią dzieje. Odbiorcy:",
        after: "Dlatego nie wiadomo, czy dotrze.",
    },
    expanded: Words {
        subject: "Wiadomość przekazana wielu odbiorcom",
        before: "Wiadomość z {time} została przekazana wielu odbiorcom przez:",
        after: "Jeśli nie uda się jej dostarczyć któremuś z nich, może przyjść powiadomienie.",
    },
    until: "Próby będą trwać do {time}; nie trzeba wysyłać jej ponownie.",
    causes: [
        "Nie ma tam takiego adresu.",
        "Domena odbiorcy nie oferuje tej usługi.",
        "Nie udało się połączyć z serwerem odbiorcy.",
        "Czas na dostarczenie minął.",
        "Skrzynka odbiorcy jest pełna.",
        "Wiadomość jest za duża dla odbiorcy.",
        "Żadne połączenie nie było wystarczająco bezpieczne.",
        "Wiadomość została odrzucona.",
        "Wiadomość w tej postaci nie może tam zostać przyjęta.",
    ],
    uncertain: "Połączenie zostało przerwane po wysłaniu wiadomości; mogła mimo to dotrzeć.",
    answered: "Serwer {host} odpowiedział:",
    details: "Szczegóły:",
    footer: "To powiadomienie przygotował serwer {host}; jego oznaczenie to {id}.",
};

pub(super) static RUSSIAN: Texts = Texts {
    tag: "ru",
    failed: Words {
        subject: "Сообщение не доставлено",
        before: "Ваше сообщение от {time} не доставлено по адресу:",
        after: "Новых попыток не будет.",
    },
    delayed: Words {
        subject: "Сообщение задерживается",
        before: "Ваше сообщение от {time} пока не доставлено по адресу:",
        after: "Попытки продолжаются; отправлять его повторно не нужно.",
    },
    delivered: Words {
        subject: "Сообщение доставлено",
        before: "Ваше сообщение от {time} доставлено по адресу:",
        after: "Это не означает, что оно прочитано.",
    },
    relayed: Words {
        subject: "Сообщение передано дальше",
        before: "Ваше сообщение от {time} передано серверу, который не сообщает о его дальнейшей судьбе, для адреса:",
        after: "Поэтому неизвестно, дойдёт ли оно.",
    },
    expanded: Words {
        subject: "Сообщение передано нескольким получателям",
        before: "Ваше сообщение от {time} передано нескольким получателям через адрес:",
        after: "Если одному из них его не удастся доставить, вам могут об этом сообщить.",
    },
    until: "Попытки будут продолжаться до {time}; отправлять его повторно не нужно.",
    causes: [
        "Такого адреса там нет.",
        "Домен получателя не предоставляет эту услугу.",
        "Не удалось связаться с сервером получателя.",
        "Время, отведённое на доставку, истекло.",
        "Почтовый ящик получателя переполнен.",
        "Сообщение слишком велико для получателя.",
        "Ни одно соединение не было достаточно защищённым.",
        "Сообщение отклонено.",
        "Сообщение такого вида там принять не могут.",
    ],
    uncertain: "Связь прервалась после того, как сообщение было передано; возможно, оно всё же дошло.",
    answered: "Сервер {host} ответил:",
    details: "Подробности:",
    footer: "Это уведомление составил сервер {host}; его номер — {id}.",
};

pub(super) static JAPANESE: Texts = Texts {
    tag: "ja",
    failed: Words {
        subject: "メッセージを配信できませんでした",
        before: "{time} に受け付けたメッセージを、次の宛先に配信できませんでした。",
        after: "これ以上の再試行は行いません。",
    },
    delayed: Words {
        subject: "メッセージの配信が遅れています",
        before: "{time} に受け付けたメッセージは、次の宛先にまだ配信されていません。",
        after: "再試行を続けています。もう一度送信する必要はありません。",
    },
    delivered: Words {
        subject: "メッセージを配信しました",
        before: "{time} に受け付けたメッセージを、次の宛先に配信しました。",
        after: "これは、メッセージが読まれたことを意味するものではありません。",
    },
    relayed: Words {
        subject: "メッセージを中継しました",
        before: "{time} に受け付けた次の宛先へのメッセージを、配信結果を通知しないサーバーに中継しました。",
        after: "そのため、届いたかどうかは分かりません。",
    },
    expanded: Words {
        subject: "メッセージを複数の宛先に転送しました",
        before: "{time} に受け付けたメッセージは、次の宛先から複数の受信者に転送されました。",
        after: "いずれかの受信者に配信できない場合は、通知が届くことがあります。",
    },
    until: "{time} まで再試行を続けます。もう一度送信する必要はありません。",
    causes: [
        "そのアドレスは存在しません。",
        "受信者のドメインはこのサービスを提供していません。",
        "受信者のサーバーに接続できませんでした。",
        "配信期限が過ぎました。",
        "受信者の受信箱がいっぱいです。",
        "メッセージが大きすぎます。",
        "十分に安全な接続を確立できませんでした。",
        "メッセージは拒否されました。",
        "この形式のメッセージは受け付けられません。",
    ],
    uncertain: "メッセージの送信後に接続が切れました。それでも届いている可能性があります。",
    answered: "サーバー {host} の応答:",
    details: "詳細:",
    footer: "この通知はサーバー {host} が作成しました。参照番号は {id} です。",
};

pub(super) static CHINESE: Texts = Texts {
    tag: "zh",
    failed: Words {
        subject: "消息未送达", before: "您于 {time} 发出的消息未能送达：", after: "系统不会再次尝试。"
    },
    delayed: Words {
        subject: "消息延迟",
        before: "您于 {time} 发出的消息尚未送达：",
        after: "系统正在继续尝试，您无需重新发送。",
    },
    delivered: Words {
        subject: "消息已送达",
        before: "您于 {time} 发出的消息已送达：",
        after: "这并不表示消息已被阅读。",
    },
    relayed: Words {
        subject: "消息已转交",
        before: "您于 {time} 发出的消息已转交给一台不报告投递结果的服务器，收件人：",
        after: "因此无法得知消息是否会送达。",
    },
    expanded: Words {
        subject: "消息已转发给多个收件人",
        before: "您于 {time} 发出的消息已由以下地址转发给多个收件人：",
        after: "如果无法送达其中某个收件人，您可能会收到通知。",
    },
    until: "系统将继续尝试，直至 {time}，您无需重新发送。",
    causes: [
        "该地址不存在。",
        "收件人的域不提供此服务。",
        "无法连接到收件人的服务器。",
        "投递时限已过。",
        "收件人的收件箱已满。",
        "消息过大，收件人无法接收。",
        "没有足够安全的连接。",
        "消息被拒绝。",
        "对方无法接收这种形式的消息。",
    ],
    uncertain: "消息发出后连接中断，消息仍有可能已经送达。",
    answered: "服务器 {host} 答复：",
    details: "详情：",
    footer: "本回执由服务器 {host} 生成，编号为 {id}。",
};
